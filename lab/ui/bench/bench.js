// What the server answers on the bench goes into the page part by part; only what changed is touched.
import { designAddress } from "./address.js";
import { currentDraft, rememberPrint } from "./draft.js";
import { copyText, h, setHtml } from "../shell/dom.js";
import { emit, listen } from "../shell/events.js";
import { register } from "../shell/parts.js";
import { forgetText, keptText } from "../shell/storage.js";
import { LANGUAGE, say } from "../shell/words.js";

const TEXT = ["equation", "table"]; // drawn by gradio's Markdown, which has KaTeX

const filledPart = (element, name) => {
  listen("answer", ({ parts = {} }) => {
    if (!parts[name]) return;
    rememberPrint(name, parts[name][0]);
    setHtml(element, parts[name][1]);
  });
};
// passes the LaTeX on to the Markdown parts, by an event that stays in the browser
const formulas = (element, props) => {
  listen("answer", ({ parts = {} }) => {
    if (!TEXT.some((name) => parts[name])) return;
    const texts = { ...(props.value || {}) };
    for (const name of TEXT.filter((one) => parts[one])) {
      const [print, text] = parts[name];
      rememberPrint(name, print);
      texts[name] = text;
    }
    props.value = texts;
  });
};
// take the design away: as text, or as a preset of one's own
const designTools = (element, server) => {
  const notice = h("p", { class: "lab-muted", role: "status" });
  const tell = (text, wrong = false) => {
    notice.textContent = text;
    notice.classList.toggle("wrong", wrong);
  };
  const copy = (kind) => {
    const button = h(
      "button",
      {
        type: "button",
        class: "lab-quiet",
        title: say("bench.copy.help"),
        onclick: async () => {
          const found = await server.write({ language: LANGUAGE, draft: currentDraft() }).catch(() => ({ wrong: say("bench.lost") }));
          tell(found.wrong || "", true);
          if (!found.wrong) copyText(found[kind], button);
        },
      },
      say("bench.copy." + kind),
    );
    return button;
  };
  const link = h(
    "button",
    {
      type: "button",
      class: "lab-quiet",
      title: say("bench.copy.link.help"),
      onclick: async () => {
        const found = await server.link({ language: LANGUAGE, draft: currentDraft() }).catch(() => ({ wrong: say("bench.lost") }));
        tell(found.wrong || "", true);
        if (!found.wrong) copyText(designAddress(found.link), link);
      },
    },
    say("bench.copy.link.button"),
  );
  const field = h("input", { type: "text", "aria-label": say("bench.save.name"), placeholder: say("bench.save.name"), maxlength: 80, spellcheck: "false" });
  const name = keptText(field, "preset-name");
  const keep = async (event) => {
    event.preventDefault();
    const found = await server.save({ language: LANGUAGE, draft: currentDraft(), name: name.value.trim() }).catch(() => ({ wrong: say("bench.lost") }));
    tell(found.wrong || say("bench.saved", { name: found.saved }), Boolean(found.wrong));
    if (found.wrong) return name.focus();
    form.hidden = true;
    forgetText("preset-name");
    name.value = "";
    emit("preset", found.saved);
  };
  const form = h("form", { class: "lab-save", onsubmit: keep }, name, h("button", { type: "submit", class: "lab-quiet" }, say("bench.save.go")));
  form.hidden = true;
  const open = h(
    "button",
    {
      type: "button",
      class: "lab-quiet",
      onclick: () => {
        form.hidden = !form.hidden;
        if (!form.hidden) name.focus();
      },
    },
    say("bench.save"),
  );
  const present = h(
    "button",
    {
      type: "button",
      class: "lab-quiet",
      title: say("present.open.help"),
      onclick: () => {
        const { method } = currentDraft();
        location.href = "present?" + new URLSearchParams({ method: typeof method === "string" ? method : JSON.stringify(method) });
      },
    },
    say("present.open"),
  );
  element.replaceChildren(
    h("div", { class: "lab-tools" }, h("span", { class: "lab-muted" }, say("bench.copy")), ["yaml", "command", "python"].map(copy), link, open, present),
    form,
    notice,
  );
};
// Where the lab does not answer, what is shown is of an earlier design: it is greyed, said, and asked for again.
const SHOWN = "#costs, #memory, #figure, #equation, #table1, #notes";
const AGAIN = 2000; // milliseconds
const silence = () => {
  let notice = null;
  let timer = 0;
  listen("unanswered", () => {
    document.querySelectorAll(SHOWN).forEach((node) => node.classList.add("lab-unanswered"));
    if (!notice) document.body.append((notice = h("p", { class: "lab-lost", role: "alert" }, say("bench.silent"))));
    clearTimeout(timer);
    timer = setTimeout(() => emit("again"), AGAIN);
  });
  listen("answer", () => {
    if (!notice) return;
    clearTimeout(timer);
    notice.remove();
    notice = null;
    document.querySelectorAll(SHOWN).forEach((node) => node.classList.remove("lab-unanswered"));
  });
};
silence();
document.addEventListener("keydown", (event) => {
  const launch = document.querySelector("#launch");
  if (!launch || event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.target.closest("form, dialog")) return;
  event.preventDefault();
  launch.click();
});
const answerRelay = (element, props, watch) => watch("value", () => props.value && emit("answer", props.value));
const goTo = (element, props, watch) => {
  watch("value", () => {
    if (props.value && props.value.to) location.href = props.value.to;
  });
};

register({ filledPart, formulas, designTools, answerRelay, goTo });
