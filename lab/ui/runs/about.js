// Name, tags and notes of the chosen run. What is being typed is never overwritten, and is kept for its run wherever one goes meanwhile.
import { h, setHtml } from "../shell/dom.js";
import { register } from "../shell/parts.js";
import { storedOwnItem, storeOwnItem } from "../shell/storage.js";
import { LANGUAGE, say } from "../shell/words.js";

// Notes as they are written and, made from that by the server, as they read. Returns {node, turnTo(reads)}.
const notesField = (notes, server) => {
  const wrong = h("p", { class: "lab-wrong", role: "alert", hidden: true });
  const page = h("div", { class: "lab-prose", id: "about-read", role: "region", "aria-label": say("about.notes.read"), hidden: true });
  const buttons = ["write", "read"].map((mode) =>
    h("button", { type: "button", class: "lab-button", onclick: () => turnTo(mode === "read", true) }, say("about.notes." + mode)),
  );
  let turn = 0;
  const turnTo = async (reads, pressed = false) => {
    const mine = ++turn;
    const text = notes.value;
    const found = reads ? await server.read({ text, language: LANGUAGE }).catch(() => ({ wrong: say("bench.lost") })) : {};
    if (mine !== turn) return;
    wrong.textContent = found.wrong || "";
    wrong.hidden = !found.wrong;
    const read = reads && !found.wrong;
    if (read) setHtml(page, found.html || "");
    page.hidden = !read;
    notes.hidden = read;
    for (const [index, button] of buttons.entries()) button.setAttribute("aria-pressed", String(read === Boolean(index)));
    if (pressed && !reads) notes.focus();
  };
  const head = h("div", { class: "lab-prose-head" }, h("label", { for: notes.id }, say("about.notes")), h("span", { class: "lab-gap" }), ...buttons);
  return { node: h("div", { class: "lab-field" }, head, notes, page, wrong, h("small", {}, say("about.notes.help"))), turnTo };
};

const aboutForm = (element, props, watch, trigger, event, server) => {
  let saved = null;
  const name = h("input", { type: "text", id: "about-name", maxlength: 120, autocomplete: "off" });
  const tags = h("input", { type: "text", id: "about-tags", autocomplete: "off" });
  const notes = h("textarea", { id: "about-notes", rows: 8, maxlength: 20000 });
  const { node: notesNode, turnTo } = notesField(notes, server);
  const split = () =>
    tags.value
      .split(/[,，]/)
      .map((tag) => tag.trim())
      .filter(Boolean);
  const changed = () => saved && (name.value !== saved.name || split().join() !== saved.tags.join() || notes.value !== saved.notes);
  const save = h("button", { type: "submit", class: "lab-button", disabled: true }, say("about.save"));
  const draft = () => `lab_about_${saved.run}`;
  const unsaved = h("small", { class: "lab-unsaved", role: "status" });
  const discard = h(
    "button",
    {
      type: "button",
      class: "lab-button",
      hidden: true,
      onclick: () => {
        storeOwnItem(draft(), null);
        fill(saved);
        turnTo(false);
      },
    },
    say("about.discard"),
  );
  const fill = (from) => {
    name.value = from.name;
    tags.value = from.tags.join(", ");
    notes.value = from.notes;
    settle();
  };
  const settle = () => {
    const open = Boolean(changed());
    save.disabled = discard.hidden = !open;
    unsaved.textContent = open ? say("about.unsaved") : "";
    return open;
  };
  const field = (label, help, node) => h("div", { class: "lab-field" }, h("label", { for: node.id }, say(label)), node, h("small", {}, say(help)));
  const form = h(
    "form",
    {
      oninput: () => storeOwnItem(draft(), settle() ? { name: name.value, tags: split(), notes: notes.value } : null),
      onsubmit: (submit) => {
        submit.preventDefault();
        trigger(event, { run: saved.run, name: name.value, tags: split(), notes: notes.value });
      },
    },
    field("about.name", "about.name.help", name),
    field("about.tags", "about.tags.help", tags),
    notesNode,
    h("div", { class: "lab-about-acts" }, save, discard, unsaved),
  );
  element.replaceChildren(form);
  const draw = () => {
    const value = props.value;
    form.hidden = !value;
    if (!value || (saved && JSON.stringify(saved) === JSON.stringify(value))) return;
    const same = saved && saved.run === value.run;
    saved = value;
    if (same && !settle()) storeOwnItem(draft(), null); // it was saved just now
    if (same && element.contains(document.activeElement) && changed()) return; // it is being typed in
    const kept = storedOwnItem(draft());
    fill(kept && typeof kept.notes === "string" && Array.isArray(kept.tags) ? { ...value, ...kept } : value);
    if (!same) turnTo(Boolean(notes.value) && !changed()); // notes that are there are read, a draft is gone on with
  };
  watch("value", draw);
  draw();
};

register({ aboutForm });
