// What the server answers on the bench goes into the page part by part; only what changed is touched.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const have = {}; // part: print of what it shows
  const TEXT = ["equation", "table"]; // drawn by gradio's Markdown, which has KaTeX
  Lab.haveAlready = (name, print) => (have[name] = print);
  Lab.have = () => ({ ...have });

  Lab.part = (element, name) => {
    Lab.on("answer", ({ parts = {} }) => {
      if (!parts[name]) return;
      have[name] = parts[name][0];
      Lab.fill(element, parts[name][1]);
    });
  };
  // passes the LaTeX on to the Markdown parts, by an event that stays in the browser
  Lab.formulas = (element, props) => {
    Lab.on("answer", ({ parts = {} }) => {
      if (!TEXT.some((name) => parts[name])) return;
      const texts = { ...(props.value || {}) };
      for (const name of TEXT.filter((one) => parts[one])) [have[name], texts[name]] = parts[name];
      props.value = texts;
    });
  };
  // take the design away: as text, or as a preset of one's own
  Lab.tools = (element, server) => {
    const { h, say } = Lab, said = h("p", { class: "lab-muted", role: "status" });
    const tell = (text, wrong = false) => { said.textContent = text; said.classList.toggle("wrong", wrong); };
    const copy = (kind) => {
      const button = h("button", { type: "button", class: "lab-quiet", title: say("bench.copy.help"), onclick: async () => {
        const found = await server.write({ language: Lab.language, draft: Lab.draft() }).catch(() => ({ wrong: say("bench.lost") }));
        tell(found.wrong || "", true);
        if (!found.wrong) Lab.copy(found[kind], button);
      } }, say("bench.copy." + kind));
      return button;
    };
    const name = h("input", { type: "text", "aria-label": say("bench.save.name"), placeholder: say("bench.save.name"), maxlength: 80, spellcheck: "false" });
    const keep = async (event) => {
      event.preventDefault();
      const found = await server.save({ language: Lab.language, draft: Lab.draft(), name: name.value.trim() }).catch(() => ({ wrong: say("bench.lost") }));
      tell(found.wrong || say("bench.saved", { name: found.saved }), Boolean(found.wrong));
      if (found.wrong) return name.focus();
      form.hidden = true;
      Lab.emit("preset", found.saved);
    };
    const form = h("form", { class: "lab-save", onsubmit: keep }, name, h("button", { type: "submit", class: "lab-quiet" }, say("bench.save.go")));
    form.hidden = true;
    const open = h("button", { type: "button", class: "lab-quiet", onclick: () => { form.hidden = !form.hidden; if (!form.hidden) name.focus(); } }, say("bench.save"));
    element.replaceChildren(h("div", { class: "lab-tools" }, h("span", { class: "lab-muted" }, say("bench.copy")), ["yaml", "command", "python"].map(copy), open), form, said);
  };
  // the memory plan: asked when the knobs have rested, first the plan, then the largest batch; against this machine or a typical accelerator
  Lab.device = () => { const kept = Lab.kept("lab_device"); return SIZES.includes(kept) ? kept : ""; };
  const SIZES = ["16", "24", "40", "80"];
  Lab.memory = (element, server) => {
    const { h, say } = Lab, REST = 700, topic = Math.random().toString(36).slice(2);
    const choice = h("select", { id: "plan-device", "aria-label": say("plan.device"), onchange: (event) => { Lab.keep("lab_device", event.target.value || null); Lab.emit("device"); ask(); } },
      h("option", { value: "" }, say("plan.device.here")), SIZES.map((size) => h("option", { value: size, selected: size === Lab.device() }, say("plan.device.other", { size }))));
    const body = h("div", { class: "lab-plan" });
    element.replaceChildren(body, h("label", { class: "lab-muted lab-plan-device" }, say("plan.device"), choice));
    let asked = "", timer = 0, turn = 0;
    const ask = async () => {
      const draft = Lab.draft(), device = Lab.device(), mark = JSON.stringify([draft.model, draft.task, draft.method, draft.training, device]);
      if (mark === asked) return;
      asked = mark;
      const mine = ++turn;
      if (!body.querySelector("[data-peak]")) body.replaceChildren(h("p", { class: "lab-muted" }, say("plan.asking")));
      body.classList.add("stale");
      for (const advise of [false, true]) {
        let found;
        try { found = await server.plan({ draft, language: Lab.language, topic, turn: mine, device, advise }); } catch { found = { html: "" }; }
        if (mine !== turn || found.superseded) return;
        Lab.fill(body, found.html);
        body.classList.remove("stale");
        if (!found.html) return;
      }
    };
    Lab.on("settled", () => { clearTimeout(timer); timer = setTimeout(ask, REST); });
  };
  Lab.answers = (element, props, watch) => watch("value", () => props.value && Lab.emit("answer", props.value));
  Lab.going = (element, props, watch) => {
    watch("value", () => { if (props.value && props.value.to) location.href = props.value.to; });
  };
})();
