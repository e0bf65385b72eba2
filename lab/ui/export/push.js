// Pushing an export to the hub: what would go where is shown first, and sent by a button of its own.
import { h } from "../shell/dom.js";
import { register } from "../shell/parts.js";
import { say } from "../shell/words.js";

const SETTLED = 1200; // milliseconds before what was just shown can be sent: the click that asked for it is over

const pushForm = (element, props, watch, trigger, ask, send) => {
  let repo = "";
  let open = false;
  let ready = "";
  const followed = new Set();
  const chosen = () => ({ choice: props.value.choice, repo, public: open });
  const changed = () => {
    ready = "";
    element.querySelector(".lab-push-plan")?.remove();
  };
  const follow = (value) => {
    if (value.state !== "sending" || followed.has(value.confirm)) return;
    followed.add(value.confirm);
    trigger(send, { choice: value.choice, confirm: value.confirm });
  };
  const form = (busy) => {
    const field = h("input", {
      id: "push-repo",
      type: "text",
      value: repo,
      placeholder: say("push.example"),
      spellcheck: "false",
      autocomplete: "off",
      disabled: busy,
      oninput: () => {
        repo = field.value;
        changed();
      },
    });
    const readers = [
      [false, "push.private"],
      [true, "push.public"],
    ].map(([value, key]) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(open === value),
          disabled: busy,
          onclick: () => {
            open = value;
            changed();
            draw();
          },
        },
        say(key),
      ),
    );
    const look = () => repo.trim() && trigger(ask, chosen());
    field.addEventListener("keydown", (press) => press.key === "Enter" && look());
    return h(
      "div",
      { class: "lab-push-form" },
      h("label", { for: "push-repo" }, say("push.repo")),
      field,
      h("div", { class: "lab-segments", role: "group", "aria-label": say("push.readers") }, readers),
      h("button", { type: "button", class: "lab-button", id: "push-look", disabled: busy, onclick: look }, say("push.look")),
    );
  };
  const plan = (value) => {
    const go = h(
      "button",
      {
        type: "button",
        class: "lab-button warn",
        id: "push-send",
        disabled: true,
        onclick: () => {
          go.disabled = true;
          followed.add(value.confirm);
          trigger(send, { choice: value.choice, confirm: value.confirm, replace: value.foreign });
        },
      },
      say(value.foreign ? "push.replace" : "push.send", {
        n: value.files.length,
        size: value.size,
        repo: value.repo,
        readers: say("push." + value.visibility),
      }),
    );
    setTimeout(() => (go.disabled = ready !== value.confirm), SETTLED);
    ready = value.confirm;
    return h(
      "div",
      { class: "lab-push-plan" },
      h(
        "p",
        {},
        h("b", {}, value.repo),
        " · ",
        say(value.exists ? "push.there" : "push.new"),
        " · ",
        say("push." + value.visibility + ".help", { user: value.user }),
      ),
      value.notes.map((note) => h("p", { class: "lab-said" + (value.foreign ? " wrong" : ""), role: "note" }, note)),
      h(
        "ul",
        {},
        value.files.map((file) => h("li", {}, h("code", {}, file.name), " ", h("span", { class: "num lab-muted" }, file.size))),
      ),
      go,
    );
  };
  const state = (value) => {
    if (value.state === "asking") return h("p", { class: "lab-said lab-asking", role: "status" }, say("push.asking"));
    if (value.state === "wrong") return h("p", { class: "lab-said wrong", role: "alert" }, value.sentence);
    if (value.state === "ready") return plan(value);
    if (value.state === "sending")
      return h(
        "div",
        { role: "status" },
        h("p", { class: "lab-said lab-asking" }, say("push.sending", { repo: value.repo, file: value.file, share: Math.round(value.share) })),
        h("progress", { max: 100, value: Math.round(value.share), "aria-label": value.repo }),
      );
    if (value.state === "sent")
      return h(
        "p",
        { class: "lab-said", role: "status" },
        say("push.sent") + " ",
        h("a", { href: value.address, rel: "noopener", target: "_blank" }, value.address),
      );
    return "";
  };
  const draw = () => {
    const value = props.value;
    element.hidden = !value;
    if (!value) return element.replaceChildren();
    if (value.state === "off") return element.replaceChildren(h("p", { class: "lab-muted" }, value.sentence));
    if (value.repo && !repo) repo = value.repo;
    follow(value);
    const busy = value.state === "asking" || value.state === "sending";
    element.replaceChildren(
      h("div", { class: "lab-card" }, h("h3", {}, say("push.title")), h("p", { class: "lab-muted" }, say("push.help")), form(busy), state(value)),
    );
  };
  watch("value", draw);
  draw();
};

register({ pushForm });
