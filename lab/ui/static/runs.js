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
      h("span", { class: "lab-sub" }, [row.metric && `${Lab.metric(row.metric_name)} ${row.metric}`, row.trainable, active && row.total ? `${row.step} / ${row.total}` : "", ago(row.created)].filter(Boolean).join(" · ")),
      active && row.total ? h("span", { class: "lab-thin", style: `--part:${(100 * part).toFixed(1)}%` }) : null);
  };

  // state, tag and order of a list of runs: a row of three small selects, and what they leave of the rows
  const STATES = ["queued", "running", "succeeded", "failed", "cancelled", "interrupted"];
  const ORDERS = { newest: null, name: (row) => row.name, metric: (row) => (row.value === null ? Infinity : -row.value), weights: (row) => row.weights ?? Infinity, time: (row) => row.seconds || Infinity };
  Lab.sorting = (changed) => {
    const select = (label, choices) => h("select", { "aria-label": say(label), onchange: changed }, choices.map(([value, text]) => h("option", { value }, text)));
    const state = select("runs.by.state", [["", say("runs.all.states")], ...STATES.map((one) => [one, say("state." + one)])]);
    const tag = select("runs.by.tag", [["", say("runs.all.tags")]]);
    const order = select("runs.by.order", Object.keys(ORDERS).map((one) => [one, say("runs.order." + one)]));
    let tags = "";
    const pick = (rows) => {
      const found = [...new Set(rows.flatMap((row) => row.tags))].sort();
      if (found.join("\n") !== tags) {
        const kept = tag.value;
        tags = found.join("\n");
        tag.replaceChildren(h("option", { value: "" }, say("runs.all.tags")), ...found.map((one) => h("option", { value: one }, one)));
        tag.value = found.includes(kept) ? kept : "";
      }
      const left = rows.filter((row) => (!state.value || row.state === state.value || (state.value === "running" && ["starting", "stopping"].includes(row.state))) && (!tag.value || row.tags.includes(tag.value)));
      const by = ORDERS[order.value];
      return by ? [...left].sort((a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0)) : left;
    };
    return { node: h("div", { class: "lab-sorting" }, state, tag, order), pick };
  };

  // name, tags and notes of the chosen run; what is being typed is never overwritten
  Lab.about = (element, props, watch, trigger, event) => {
    let told = null;
    const name = h("input", { type: "text", id: "about-name", maxlength: 120, autocomplete: "off" });
    const tags = h("input", { type: "text", id: "about-tags", autocomplete: "off" });
    const notes = h("textarea", { id: "about-notes", rows: 5, maxlength: 20000 });
    const split = () => tags.value.split(/[,，]/).map((tag) => tag.trim()).filter(Boolean);
    const changed = () => told && (name.value !== told.name || split().join() !== told.tags.join() || notes.value !== told.notes);
    const save = h("button", { type: "submit", class: "lab-button", disabled: true }, say("about.save"));
    const field = (label, help, node) => h("div", { class: "lab-field" }, h("label", { for: node.id }, say(label)), node, h("small", {}, say(help)));
    const form = h("form", { oninput: () => { save.disabled = !changed(); }, onsubmit: (submit) => {
      submit.preventDefault();
      trigger(event, { run: told.run, name: name.value, tags: split(), notes: notes.value });
    } }, field("about.name", "about.name.help", name), field("about.tags", "about.tags.help", tags), field("about.notes", "about.notes.help", notes), save);
    element.replaceChildren(form);
    const draw = () => {
      const value = props.value;
      form.hidden = !value;
      if (!value || (told && told.run === value.run && changed() && JSON.stringify(told) === JSON.stringify(value))) return;
      if (told && told.run === value.run && element.contains(document.activeElement) && changed() && value.notes !== notes.value) return;
      told = value;
      name.value = value.name; tags.value = value.tags.join(", "); notes.value = value.notes;
      save.disabled = true;
    };
    watch("value", draw);
    draw();
  };

  Lab.list = (element, props, watch) => {
    const filter = h("input", { type: "search", placeholder: say("runs.filter"), "aria-label": say("runs.filter"), oninput: () => draw() });
    const box = h("div", { class: "lab-list", role: "listbox", "aria-label": say("page.runs") });
    const tools = Lab.sorting(() => draw());
    const nothing = h("div", { class: "lab-empty" }, h("p", {}, say("runs.empty")), h("a", { href: "./", class: "lab-cta" }, say("runs.empty.go")));
    element.replaceChildren(filter, tools.node, box, nothing);
    const known = new Map();
    let rows = null, selected = "", seen = "";
    const reveal = () => {
      const at = box.querySelector('[aria-selected="true"]')?.getBoundingClientRect(), frame = box.getBoundingClientRect();
      if (at && (at.top < frame.top || at.bottom > frame.bottom)) box.scrollTop += at.top - frame.top - 60;
    };
    const draw = () => {
      if (rows === null) { nothing.hidden = true; filter.hidden = tools.node.hidden = true; return; }
      const words = filter.value.trim().toLowerCase();
      const shown = tools.pick(rows).filter((row) => !words || [row.name, row.id, row.state, say("state." + row.state), ...row.tags].join(" ").toLowerCase().includes(words));
      nothing.hidden = rows.length > 0;
      filter.hidden = tools.node.hidden = rows.length < 6;
      const nodes = shown.map((row) => {
        const mark = JSON.stringify([row, row.id === selected, Math.floor(Date.now() / 60000)]), old = known.get(row.id);
        if (old && old.mark === mark) return old.node;
        const node = item(row, row.id === selected);
        if (old && old.node === document.activeElement) setTimeout(() => node.focus(), 0);
        known.set(row.id, { mark, node });
        return node;
      });
      if (nodes.length !== box.children.length || nodes.some((node, index) => box.children[index] !== node)) box.replaceChildren(...nodes);
      if (selected && selected !== seen && box.querySelector('[aria-selected="true"]')) { seen = selected; reveal(); setTimeout(reveal, 200); } // again when rows have their true heights
    };
    box.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      event.preventDefault();
      const next = event.key === "ArrowDown" ? document.activeElement.nextElementSibling : document.activeElement.previousElementSibling;
      if (next) next.focus();
    });
    const take = () => { ({ rows = null, selected = "" } = Lab.parsed(props.value) || {}); draw(); };
    watch("value", take);
    take();
  };

  // buttons inside HTML from the server: data-act names the event; data-sure asks once more
  Lab.actions = (element, trigger, watch) => {
    let held = ""; // the button that has the focus: while a run goes on, its HTML is drawn anew every second
    element.addEventListener("focusin", (event) => { held = event.target.dataset.act || ""; });
    document.addEventListener("focusin", (event) => { if (!element.contains(event.target)) held = ""; });
    document.addEventListener("pointerdown", (event) => { if (!element.contains(event.target)) held = ""; });
    if (watch) watch("value", () => setTimeout(() => { if (held && document.activeElement === document.body) element.querySelector(`[data-act="${held}"]`)?.focus(); }, 0));
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
