// A text and the runs to try it on; the address keeps the runs.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const { h, say } = Lab;
  Lab.tryit = (element, props, watch, trigger, event, most) => {
    let chosen = (new URL(location.href).searchParams.get("runs") || "").split(",").filter((id) => /^[a-z][a-z0-9]{7}$/.test(id)), started = false;
    const text = h("textarea", { id: "try-text", rows: 4, maxlength: 20000, onkeydown: (press) => { if (press.key === "Enter" && (press.ctrlKey || press.metaKey)) ask(); } });
    const pair = h("textarea", { id: "try-pair", rows: 2, maxlength: 20000 });
    const field = (label, help, node) => h("div", { class: "lab-field" }, h("label", { for: node.id }, say(label)), node, h("small", {}, say(help)));
    const box = h("div", { class: "lab-list", role: "group", "aria-label": say("try.runs") });
    const filter = h("input", { type: "search", placeholder: say("try.filter"), "aria-label": say("try.filter"), oninput: () => draw() });
    const ask = () => { if (!button.disabled) trigger(event, { runs: chosen, text: text.value, pair: pair.value }); };
    const button = h("button", { type: "button", class: "lab-cta", onclick: ask }, say("try.ask"));
    const second = h("details", {}, h("summary", {}, say("try.pair")), field("try.pair", "try.pair.help", pair));
    let told = null, at = 0;
    const sample = h("button", { type: "button", class: "lab-button", title: say("try.sample.help"), onclick: () => {
      const found = samples();
      text.value = found[at++ % found.length];
      text.focus();
    } }, say("try.sample"));
    const samples = () => [...new Set(((told && told.rows) || []).filter((row) => chosen.includes(row.id)).flatMap((row) => row.samples).filter(Boolean))];
    element.replaceChildren(field("try.text", "try.text.help", text), sample, second, h("h3", {}, say("try.runs")), filter, box, button);
    const item = (row) => {
      const on = chosen.includes(row.id);
      return h("button", { type: "button", role: "checkbox", class: "lab-item", "data-run": row.id, "aria-checked": String(on), disabled: !on && chosen.length >= most, onclick: () => {
        chosen = on ? chosen.filter((id) => id !== row.id) : [...chosen, row.id];
        Lab.setAddress({ runs: chosen.join(",") });
        draw();
        box.querySelector(`[data-run="${row.id}"]`)?.focus();
      } }, h("span", { class: "lab-check", style: on ? `background:${row.colour};border-color:${row.colour}` : "" }), h("span", { class: "lab-name" }, row.name),
        h("span", {}), h("span", { class: "lab-sub" }, [row.model, row.task, row.metric && `${Lab.metric(row.metric_name)} ${row.metric}`].filter(Boolean).join(" · ")));
    };
    const draw = () => {
      const rows = (told && told.rows) || [], words = filter.value.trim().toLowerCase();
      if (told && !started && rows.length) {
        started = true;
        chosen = chosen.filter((id) => rows.some((row) => row.id === id)).slice(0, most);
        if (!chosen.length && rows.length) chosen = [rows[0].id];
      }
      filter.hidden = rows.length < 8;
      box.replaceChildren(...rows.filter((row) => !words || [row.name, row.model, row.task, row.id].join(" ").toLowerCase().includes(words)).map(item));
      button.disabled = !chosen.length;
      sample.hidden = !samples().length;
    };
    let last = "";
    const take = () => {
      if (props.value === last) return;
      last = props.value;
      told = Lab.parsed(props.value);
      const held = box.contains(document.activeElement) && document.activeElement.dataset.run;
      draw();
      if (held) box.querySelector(`[data-run="${held}"]`)?.focus();
    };
    watch("value", take);
    take();
  };
})();
