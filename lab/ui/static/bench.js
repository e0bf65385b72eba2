// What the server answers on the bench goes into the page part by part; only what changed is touched.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const have = {}; // part: print of what it shows
  const TEXT = ["equation", "table"]; // drawn by gradio's Markdown, which has KaTeX
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
  Lab.answers = (element, props, watch) => watch("value", () => props.value && Lab.emit("answer", props.value));
  Lab.going = (element, props, watch) => {
    watch("value", () => { if (props.value && props.value.to) location.href = props.value.to; });
  };
})();
