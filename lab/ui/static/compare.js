// Picking runs to compare; the address keeps the choice, so that a link reopens it.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const { h, say } = Lab;
  // what the comparison looks like, kept in the address: [name, the choices, the first one being usual]
  const OPTIONS = [["along", ["step", "epoch", "tokens", "time"]], ["group", ["no", "yes"]], ["settings", ["differing", "all"]], ["papers", ["yes", "no"]]];
  const params = new URL(location.href).searchParams;
  Lab.compared = Object.fromEntries(OPTIONS.map(([name, choices]) => [name, choices.includes(params.get(name)) ? params.get(name) : choices[0]]));

  Lab.comparing = (element, trigger, events) => {
    const control = ([name, choices]) => h("label", { title: say(`compare.option.${name}.help`) }, say("compare.option." + name), h("select", { value: Lab.compared[name], onchange: (event) => {
      Lab.compared[name] = event.target.value;
      Lab.setAddress({ [name]: event.target.value === choices[0] ? "" : event.target.value });
      Lab.emit("compared");
    } }, choices.map((choice) => h("option", { value: choice, selected: Lab.compared[name] === choice }, say(`compare.${name}.${choice}`)))));
    const take = (event) => h("button", { type: "button", class: "lab-button", title: say(`compare.take.${event}.help`), onclick: () => trigger(event, {}) }, say("compare.take." + event));
    element.replaceChildren(...OPTIONS.map(control), h("span", { class: "lab-gap" }), ...events.map(take));
    const seen = (runs) => { element.hidden = !runs.length; };
    Lab.on("pick", seen);
    seen(params.get("runs") ? [1] : []);
  };

  // a file made by the server, saved by the browser
  Lab.saving = (element, props, watch) => {
    watch("value", () => {
      const { name, type, text } = props.value || {};
      if (!text) return;
      const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
      document.body.append(link); link.click(); link.remove();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  };

  Lab.picked = (element, props) => {
    const asked = (new URL(location.href).searchParams.get("runs") || "").split(",").filter((id) => /^[a-z][a-z0-9]{7}$/.test(id));
    let runs = asked;
    const tell = () => { props.value = { runs, ...Lab.compared, again: Date.now() }; };
    Lab.on("pick", (picked) => { runs = picked; Lab.setAddress({ runs: runs.join(",") }); tell(); });
    Lab.on("compared", tell);
    tell();
  };

  // the table of results: a click on a heading sorts by it, another one the other way round; kept when the table is drawn anew
  Lab.sortable = (element, watch) => {
    let column = null, falling = false, at = [0, 0];
    const value = (row) => { const cell = row.children[column]; return cell.dataset.value === undefined ? (column < 2 ? cell.textContent : null) : Number(cell.dataset.value); };
    const sort = () => {
      const body = element.querySelector("tbody");
      if (!body || column === null) return;
      const before = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b ? -1 : 1) * (falling ? -1 : 1));
      body.replaceChildren(...[...body.rows].sort((a, b) => before(value(a), value(b))));
      element.querySelectorAll("thead th").forEach((head, index) => (index === column ? head.setAttribute("aria-sort", falling ? "descending" : "ascending") : head.removeAttribute("aria-sort")));
    };
    element.addEventListener("click", (event) => {
      const button = event.target.closest("[data-sort]");
      if (!button) return;
      const asked = Number(button.dataset.sort);
      falling = column === asked ? !falling : asked >= 2;
      column = asked;
      sort();
    });
    element.addEventListener("scroll", ({ target }) => { at = [target.scrollLeft, target.scrollTop]; }, true);
    watch("value", () => setTimeout(() => {
      const box = element.querySelector(".lab-scroll"), [left, top] = at;
      sort();
      if (box) [box.scrollLeft, box.scrollTop] = [left, top];
    }, 0));
  };

  const MOST = 50;
  Lab.picker = (element, props, watch) => {
    const filter = h("input", { type: "search", placeholder: say("runs.filter"), "aria-label": say("runs.filter"), oninput: () => draw() });
    const tools = Lab.sorting(() => draw());
    const box = h("div", { class: "lab-list", role: "group", "aria-label": say("compare.pick") });
    const copy = h("button", { type: "button", class: "lab-button", title: say("compare.link.help"), onclick: () => Lab.copy(location.href.replace(/([?&])__theme=\w+&?/, "$1").replace(/[?&]$/, ""), copy) }, say("compare.link"));
    const clear = h("button", { type: "button", class: "lab-button", onclick: () => choose([]) }, say("compare.clear"));
    const shown = h("button", { type: "button", class: "lab-button", title: say("compare.pick.shown.help"), onclick: () => choose(listed().map((row) => row.id)) }, say("compare.pick.shown"));
    const nothing = h("div", { class: "lab-empty" }, h("p", {}, say("runs.empty")), h("a", { href: "./", class: "lab-cta" }, say("runs.empty.go")));
    const count = h("span", { class: "lab-muted", role: "status" }), bar = h("div", { class: "lab-pick-bar" }, count, h("span", { class: "lab-gap" }), shown, clear, copy);
    element.replaceChildren(bar, filter, tools.node, box, nothing);
    let chosen = null, order = [], rows = null;
    const known = new Map();
    const choose = (ids) => Lab.emit("pick", ids.slice(0, MOST));
    const toggle = (id) => choose(order.includes(id) ? order.filter((one) => one !== id) : [...order, id]);
    Lab.on("pick", (ids) => { order = ids; draw(); });
    Lab.on("pick-newest", () => choose((rows || []).filter((row) => row.state === "succeeded").slice(0, 5).map((row) => row.id)));
    const listed = () => {
      const words = filter.value.trim().toLowerCase();
      return tools.pick(rows || []).filter((row) => !words || [row.name, row.id, row.state, ...row.tags].join(" ").toLowerCase().includes(words));
    };
    const item = (row, on, full) => h("button", { type: "button", role: "checkbox", class: "lab-item", "data-run": row.id, "aria-checked": String(on), disabled: full, onclick: () => toggle(row.id) },
      h("span", { class: "lab-check", style: on ? `background:${row.colour};border-color:${row.colour}` : "" }), h("span", { class: "lab-name" }, row.name || row.id), Lab.state(row.state),
      h("span", { class: "lab-sub" }, [row.metric && `${Lab.metric(row.metric_name)} ${row.metric}`, row.trainable].filter(Boolean).join(" · ") || row.id));
    const draw = () => {
      for (const part of [bar, filter, box]) part.hidden = !rows || !rows.length;
      tools.node.hidden = !rows || rows.length < 6;
      nothing.hidden = !rows || rows.length > 0;
      if (!rows) return;
      count.textContent = order.length < MOST ? say("compare.picked", { n: order.length }) : say("compare.most");
      clear.disabled = copy.disabled = !order.length;
      const nodes = listed().map((row) => {
        const on = order.includes(row.id), full = !on && order.length >= MOST, mark = JSON.stringify([row, on, full]), old = known.get(row.id);
        if (old && old.mark === mark) return old.node;
        const node = item(row, on, full), held = old && old.node === document.activeElement;
        if (held) setTimeout(() => node.focus(), 0);
        known.set(row.id, { mark, node });
        return node;
      });
      if (nodes.length !== box.children.length || nodes.some((node, index) => box.children[index] !== node)) box.replaceChildren(...nodes);
    };
    watch("value", () => {
      const value = Lab.parsed(props.value);
      rows = value && value.rows;
      if (chosen === null && value) { chosen = true; order = [...(value.picked || [])]; }
      draw();
    });
    draw();
  };
})();
