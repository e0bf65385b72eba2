// The list of runs, the chosen one, its buttons and its log.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const { h, say } = Lab;
  const ago = (seconds) => {
    const gone = Math.max(0, Date.now() / 1000 - seconds);
    if (gone < 60) return say("ago.now");
    if (gone < 3600) return say("ago.minutes", { n: Math.floor(gone / 60) });
    if (gone < 86400) return say("ago.hours", { n: Math.floor(gone / 3600) });
    return new Date(seconds * 1000).toLocaleDateString(document.documentElement.lang, { month: "short", day: "numeric" });
  };
  Lab.state = (state) => h("span", { class: "lab-state " + state }, say("state." + state));

  // the run that is looked at, kept in the address
  Lab.chosen = (element, props) => {
    const asked = new URL(location.href).searchParams.get("run") || "";
    const choose = (run) => { Lab.setAddress({ run }); props.value = { run, again: Date.now() }; };
    Lab.on("choose", choose);
    props.value = { run: asked, again: Date.now() };
  };

  const item = (row, selected) => {
    const part = row.total ? Math.min(1, row.step / row.total) : 0, active = ["running", "stopping", "starting"].includes(row.state);
    return h("button", { type: "button", role: "option", class: "lab-item", "data-run": row.id, "aria-selected": String(selected), onclick: () => Lab.emit("choose", row.id) },
      h("span", { class: "lab-dot", style: `background:${row.colour}` }),
      h("span", { class: "lab-name" }, row.name || row.id),
      Lab.state(row.state),
      h("span", { class: "lab-sub" }, [row.metric && `${row.metric_name} ${row.metric}`, row.trainable, active && row.total ? `${row.step} / ${row.total}` : "", ago(row.created)].filter(Boolean).join(" · ")),
      active && row.total ? h("span", { class: "lab-thin", style: `--part:${(100 * part).toFixed(1)}%` }) : null);
  };

  Lab.list = (element, props, watch) => {
    const filter = h("input", { type: "search", placeholder: say("runs.filter"), "aria-label": say("runs.filter"), oninput: () => draw() });
    const box = h("div", { class: "lab-list", role: "listbox", "aria-label": say("page.runs") });
    const nothing = h("div", { class: "lab-empty" }, h("p", {}, say("runs.empty")), h("a", { href: "./", class: "lab-cta" }, say("runs.empty.go")));
    element.replaceChildren(filter, box, nothing);
    const known = new Map();
    const draw = () => {
      const { rows = null, selected = "" } = props.value || {};
      if (rows === null) { nothing.hidden = true; filter.hidden = true; return; }
      const words = filter.value.trim().toLowerCase();
      const shown = rows.filter((row) => !words || [row.name, row.id, row.state, say("state." + row.state), ...row.tags].join(" ").toLowerCase().includes(words));
      nothing.hidden = rows.length > 0;
      filter.hidden = rows.length < 6;
      const nodes = shown.map((row) => {
        const mark = JSON.stringify([row, row.id === selected, Math.floor(Date.now() / 60000)]), old = known.get(row.id);
        if (old && old.mark === mark) return old.node;
        const node = item(row, row.id === selected);
        if (old && old.node === document.activeElement) setTimeout(() => node.focus(), 0);
        known.set(row.id, { mark, node });
        return node;
      });
      if (nodes.length !== box.children.length || nodes.some((node, index) => box.children[index] !== node)) box.replaceChildren(...nodes);
    };
    box.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      event.preventDefault();
      const next = event.key === "ArrowDown" ? document.activeElement.nextElementSibling : document.activeElement.previousElementSibling;
      if (next) next.focus();
    });
    watch("value", draw);
    draw();
  };

  // buttons inside HTML from the server: data-act names the event; data-sure asks once more
  Lab.actions = (element, trigger) => {
    element.addEventListener("click", (event) => {
      const button = event.target.closest("[data-act]");
      if (!button || button.disabled) return;
      if (button.dataset.sure && !button.dataset.asked) {
        const old = button.textContent;
        button.dataset.asked = "yes"; button.textContent = button.dataset.sure;
        setTimeout(() => { delete button.dataset.asked; button.textContent = old; }, 3000);
        return;
      }
      if (button.dataset.act === "copy") return Lab.copy(document.querySelector(button.dataset.from)?.textContent || "", button);
      trigger(button.dataset.act, { run: button.dataset.run });
    });
  };

  Lab.log = (element, props, watch) => {
    const box = h("pre", { class: "lab-log", tabindex: 0, "aria-label": say("runs.log") });
    element.replaceChildren(box);
    const draw = () => {
      const end = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      box.textContent = props.value || "";
      box.classList.toggle("none", !props.value);
      if (end) box.scrollTop = box.scrollHeight;
    };
    watch("value", draw);
    draw();
  };

  Lab.leave = (element, props, watch) => {
    watch("value", () => { if (props.value && "run" in props.value) Lab.emit("choose", props.value.run); });
  };
})();
