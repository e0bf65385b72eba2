// Picking runs to compare; the address keeps the choice, so that a link reopens it.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const { h, say } = Lab;
  // what the comparison looks like, kept in the address: [name, the choices, the first one being usual]
  const OPTIONS = [["along", ["step", "epoch", "tokens", "time"]], ["group", ["no", "yes"]], ["settings", ["differing", "all"]], ["papers", ["yes", "no"]]];
  const params = new URL(location.href).searchParams;
  Lab.compared = Object.fromEntries(OPTIONS.map(([name, choices]) => [name, choices.includes(params.get(name)) ? params.get(name) : choices[0]]));

  Lab.comparing = (element, trigger, events) => {
    const control = ([name, choices]) => h("label", {}, say("compare.option." + name), h("select", { value: Lab.compared[name], onchange: (event) => {
      Lab.compared[name] = event.target.value;
      Lab.setAddress({ [name]: event.target.value === choices[0] ? "" : event.target.value });
      Lab.emit("compared");
    } }, choices.map((choice) => h("option", { value: choice, selected: Lab.compared[name] === choice }, say(`compare.${name}.${choice}`)))));
    const take = (event) => h("button", { type: "button", class: "lab-button", onclick: () => trigger(event, {}) }, say("compare.take." + event));
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

  Lab.picker = (element, props, watch) => {
    const filter = h("input", { type: "search", placeholder: say("runs.filter"), "aria-label": say("runs.filter"), oninput: () => draw() });
    const box = h("div", { class: "lab-list", role: "group", "aria-label": say("compare.pick") });
    const copy = h("button", { type: "button", class: "lab-button", onclick: () => Lab.copy(location.href.replace(/([?&])__theme=\w+&?/, "$1").replace(/[?&]$/, ""), copy) }, say("compare.link"));
    const clear = h("button", { type: "button", class: "lab-button", onclick: () => Lab.emit("pick", []) }, say("compare.clear"));
    const nothing = h("div", { class: "lab-empty" }, h("p", {}, say("runs.empty")), h("a", { href: "./", class: "lab-cta" }, say("runs.empty.go")));
    const bar = h("div", { class: "lab-pick-bar" }, h("span", { class: "lab-muted" }), h("span", { class: "lab-gap" }), clear, copy);
    element.replaceChildren(bar, filter, box, nothing);
    let chosen = null, order = [];
    const known = new Map();
    const toggle = (id) => { order = order.includes(id) ? order.filter((one) => one !== id) : [...order, id]; draw(); Lab.emit("pick", order); };
    const item = (row, on) => h("button", { type: "button", role: "checkbox", class: "lab-item", "data-run": row.id, "aria-checked": String(on), onclick: () => toggle(row.id) },
      h("span", { class: "lab-check", style: on ? `background:${row.colour};border-color:${row.colour}` : "" }), h("span", { class: "lab-name" }, row.name || row.id), Lab.state(row.state),
      h("span", { class: "lab-sub" }, [row.metric && `${row.metric_name} ${row.metric}`, row.trainable].filter(Boolean).join(" · ") || row.id));
    const draw = () => {
      const { rows = null, picked = [] } = props.value || {};
      for (const part of [bar, filter, box]) part.hidden = !rows || !rows.length;
      nothing.hidden = !rows || rows.length > 0;
      if (!rows) return;
      const words = filter.value.trim().toLowerCase();
      bar.firstChild.textContent = say("compare.picked", { n: order.length });
      clear.disabled = copy.disabled = !order.length;
      const nodes = rows.filter((row) => !words || [row.name, row.id, row.state, ...row.tags].join(" ").toLowerCase().includes(words)).map((row) => {
        const on = order.includes(row.id), mark = JSON.stringify([row, on]), old = known.get(row.id);
        if (old && old.mark === mark) return old.node;
        const node = item(row, on), held = old && old.node === document.activeElement;
        if (held) setTimeout(() => node.focus(), 0);
        known.set(row.id, { mark, node });
        return node;
      });
      if (nodes.length !== box.children.length || nodes.some((node, index) => box.children[index] !== node)) box.replaceChildren(...nodes);
    };
    watch("value", () => {
      if (chosen === null && props.value) { chosen = true; order = [...(props.value.picked || [])]; }
      draw();
    });
    draw();
  };
})();
