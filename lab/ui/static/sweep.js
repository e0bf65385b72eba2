// The sweep's form: the bench's draft as its base, one line per option that varies; and the choice of what the matrix shows.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const { h, say } = Lab;
  const KEY = "lab_sweep_1";
  Lab.sweep = (element, props) => {
    const draft = Lab.kept("lab_bench_draft_1"), base = draft && draft.model && draft.method ? draft : props.start;
    const kept = Lab.kept(KEY) || {};
    let axes = Array.isArray(kept.axes) && kept.axes.length ? kept.axes : [{ path: "deltas.0.rank", values: "4, 8, 16" }, { path: "seed", values: "0, 1" }];
    let list = Boolean(kept.list), waiting = null;
    const tell = () => {
      Lab.keep(KEY, { axes, list });
      clearTimeout(waiting);
      waiting = setTimeout(() => { props.value = { base, axes: structuredClone(axes), list, again: Date.now() }; }, 200);
    };
    const method = typeof base.method === "string" ? base.method : base.method.name, task = typeof base.task === "string" ? base.task : base.task.name || "";
    const words = [method, base.model, task, base.training && base.training.steps ? say("sweep.base.steps", { n: base.training.steps }) : ""].filter(Boolean).join(" · ");
    const lines = h("div", { class: "lab-axes" });
    const draw = () => lines.replaceChildren(...axes.map((axis, index) => h("div", { class: "lab-axis" },
      h("input", { type: "text", value: axis.path, list: "sweep-paths", "aria-label": say("sweep.path", { n: index + 1 }), autocomplete: "off", spellcheck: "false", oninput: (event) => { axis.path = event.target.value; tell(); } }),
      h("input", { type: "text", value: axis.values, "aria-label": say("sweep.values", { n: index + 1 }), autocomplete: "off", spellcheck: "false", oninput: (event) => { axis.values = event.target.value; tell(); } }),
      h("button", { type: "button", class: "lab-icon", "aria-label": say("bench.remove"), title: say("bench.remove"), disabled: axes.length < 2, onclick: () => { axes.splice(index, 1); draw(); tell(); } }, Lab.icon("close")))));
    const mode = (value, label) => h("button", { type: "button", "aria-pressed": String(list === value), onclick: (event) => {
      list = value;
      event.target.parentNode.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one === event.target)));
      tell();
    } }, label);
    element.replaceChildren(h("h3", {}, say("sweep.title")), h("p", { class: "lab-muted" }, words, " ", h("a", { href: "./" }, say("sweep.base"))),
      h("div", { class: "lab-segments", role: "group", "aria-label": say("sweep.mode") }, mode(false, say("sweep.grid")), mode(true, say("sweep.list"))),
      h("p", { class: "lab-muted" }, say("sweep.help")), lines,
      h("button", { type: "button", class: "lab-add", onclick: () => { axes.push({ path: "", values: "" }); draw(); tell(); } }, say("sweep.add")),
      h("datalist", { id: "sweep-paths" }, props.paths.map((path) => h("option", { value: path }))));
    draw();
    tell();
  };

  Lab.matrixChosen = (element, props, watch) => {
    const params = new URL(location.href).searchParams;
    const choose = (change) => {
      const value = { ...(props.value || {}), ...change };
      Lab.setAddress({ tag: value.tag, row: value.row, column: value.column });
      props.value = { tag: value.tag || "", row: value.row || "", column: value.column || "", again: Date.now() };
    };
    Lab.on("matrix", choose);
    watch("value", () => props.value && Lab.setAddress({ tag: props.value.tag, row: props.value.row, column: props.value.column }));
    choose({ tag: params.get("tag") || "", row: params.get("row") || "", column: params.get("column") || "" });
  };

  Lab.matrix = (element, props, watch) => {
    let mark = "";
    const draw = () => {
      const value = props.value;
      element.hidden = !value || !value.tags.length;
      if (!value || JSON.stringify(value) === mark) return;
      mark = JSON.stringify(value);
      const select = (label, name, choices, chosen, change) => h("label", {}, say(label), h("select", { onchange: (event) => Lab.emit("matrix", change(event.target.value)) },
        choices.map((one) => h("option", { value: one, selected: one === chosen }, one || "–"))));
      const tags = value.tags.includes(value.tag) || !value.tag ? value.tags : [value.tag, ...value.tags];
      element.replaceChildren(select("sweep.tag", "tag", tags, value.tag, (tag) => ({ tag, row: "", column: "" })),
        ...(value.axes.length > 1 ? [select("sweep.row", "row", value.axes, value.row, (row) => ({ tag: value.tag, row, column: row === value.column ? value.row : value.column })),
          select("sweep.column", "column", value.axes.filter((one) => one !== value.row), value.column, (column) => ({ tag: value.tag, row: value.row, column }))] : []));
    };
    watch("value", draw);
    draw();
  };
})();
