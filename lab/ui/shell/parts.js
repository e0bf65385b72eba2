// The parts of the pages, as gradio's components call them when they come into the page: Lab.<name>(element, ...) in `js_on_load`.
// This is the one global of ours; everything else is imported.
import { setHtml } from "./dom.js";
import { emit, listen } from "./events.js";

const Lab = (window.Lab = window.Lab || {});

export const register = (parts) => {
  for (const name of Object.keys(parts)) if (name in Lab) throw new Error(`two parts are called ${name}`);
  Object.assign(Lab, parts);
};

// The functions of a part on the server; each throws where no answer came (gradio's own then give nothing).
const served = (server) =>
  new Proxy(server, {
    get:
      (at, name) =>
      async (...asked) => {
        const found = await at[name](...asked);
        if (found === undefined || found === null) throw new Error("no answer");
        return found;
      },
  });

// Buttons inside HTML from the server that are heard by another part of the page.
const emitting = (element) =>
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-emit]");
    if (button) emit(button.dataset.emit);
  });

// A part whose value is HTML made by the server.
export const show = (element, props, watch) => {
  const draw = () => {
    setHtml(element, props.value || "");
    emit("shown", element);
  };
  watch("value", draw);
  draw();
};

register({ served, emitting, show, emit, listen });
