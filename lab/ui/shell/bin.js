// Throwing away and bringing back, the same for runs, tasks and methods: a question, a notice with Undo, and what is in the bin.
import { h } from "./dom.js";
import { emit, listen } from "./events.js";
import { register } from "./parts.js";
import { sure } from "./sure.js";
import { LANGUAGE, say } from "./words.js";

let notice = null;
const close = () => {
  if (notice) notice.remove();
  notice = null;
};
// What became of it, at the foot of the window until it is closed or the next one comes.
const announce = (words, undo = null) => {
  close();
  notice = h(
    "div",
    { class: "lab-toast" },
    h("span", { role: "status" }, words),
    undo ? h("button", { type: "button", class: "lab-button", id: "undo", onclick: undo }, say("bin.undo")) : null,
    h("button", { type: "button", class: "lab-button", "aria-label": say("bin.close"), title: say("bin.close"), onclick: close }, "×"),
  );
  document.body.append(notice);
  notice.querySelector("button").focus({ preventScroll: true });
};

// The bin of one kind: `throw` puts something into it, `binned` says that this kind has changed.
const binPart = (element, server, kind) => {
  const title = h("summary", {});
  const rows = h("ul", { class: "lab-binned" });
  const wrong = h("p", { class: "lab-wrong", role: "alert", hidden: true });
  const bin = h("details", { class: "lab-bin", hidden: true }, title, h("p", { class: "lab-muted" }, say("bin.help")), wrong, rows);
  element.replaceChildren(bin);
  const ask = (verb, asked) => server[verb]({ kind, ...asked, language: LANGUAGE }).catch(() => ({ wrong: say("bench.lost") }));
  const refuse = (words = "") => {
    wrong.textContent = words;
    wrong.hidden = !words;
  };
  const restore = async (id, name = "") => {
    const found = await ask("restored", { id, name });
    if (found.wrong) return found.wrong;
    close();
    emit("binned", { kind, back: found.back });
    return "";
  };
  const purge = async (asked, words) => {
    if (!(await sure({ title: words, text: say("bin.purge.text"), act: say("bin.purge") }))) return;
    const found = await ask("purged", asked);
    refuse(found.wrong);
    close(); // what it would undo may be gone
    load();
  };
  const row = (entry) => {
    const name = h("input", {
      type: "text",
      hidden: true,
      "aria-label": say("bin.rename"),
      placeholder: say("bin.rename"),
      maxlength: 60,
      spellcheck: "false",
    });
    const back = async () => {
      const words = await restore(entry.id, name.value.trim());
      refuse(words);
      if (words && kind !== "run") {
        name.hidden = false;
        name.focus();
      }
    };
    return h(
      "li",
      { "data-binned": entry.id },
      h("b", {}, entry.name || entry.id),
      h("span", { class: "lab-muted" }, [entry.size, say("bin.left", { n: entry.left })].join(" · ")),
      name,
      h("button", { type: "button", class: "lab-button", onclick: back }, say("bin.restore")),
      h(
        "button",
        { type: "button", class: "lab-button warn", onclick: () => purge({ id: entry.id }, say("bin.purge.one", { name: entry.name || entry.id })) },
        say("bin.purge"),
      ),
    );
  };
  const load = async () => {
    const found = await ask("binned", {});
    if (!found.entries) return refuse(found.wrong);
    bin.hidden = !found.entries.length;
    title.textContent = say("bin.title", { n: found.entries.length, size: found.size });
    const all = h(
      "button",
      { type: "button", class: "lab-button warn", onclick: () => purge({ id: "" }, say("bin.purge.all", { n: found.entries.length })) },
      say("bin.empty"),
    );
    rows.replaceChildren(...found.entries.map(row), ...(found.entries.length > 1 ? [h("li", {}, all)] : []));
  };
  listen("throw", async (it) => {
    if (it.kind !== kind) return;
    if (!(await sure({ title: say("bin.sure", { name: it.name }), text: say("bin.sure.text." + kind), act: say("bin.put") }))) return;
    const found = await ask("throw", { id: it.id });
    if (found.wrong) return announce(found.wrong);
    announce(say("bin.thrown", { name: it.name, n: found.days }), async () => {
      const words = await restore(found.place);
      if (words) announce(words);
    });
    emit("binned", { kind, gone: it.id });
  });
  listen("binned", (change) => change.kind === kind && load());
  load();
};

register({ binPart });
