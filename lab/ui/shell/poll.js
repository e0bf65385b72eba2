// A page that follows the store: it asks the server once a second what has changed since the last time, and hands the answer out part by part.
import { h } from "./dom.js";
import { register, show } from "./parts.js";
import { LANGUAGE, say } from "./words.js";

let reading = () => ({});
let asking = () => {}; // of the page that is watched
const background = []; // those who want to hear while the page is hidden
export const keepAsking = (wanted) => background.push(wanted);
export const currentChoice = () => reading();
export const askAgain = () => asking(); // somebody has just done something: what came of it is shown at once

const EVERY = 1000;
const HIDDEN = 5000; // while nobody looks, but wants to hear
const LONGEST = 8000; // milliseconds between two questions; the longest pause while the lab does not answer
const feeds = {};
const feed = (name) => (feeds[name] = feeds[name] || { props: { value: null }, heard: [] });

// what a part takes besides its element, as gradio would give it: props with its value, and watch to hear of a new one
const fed = (name) => [feed(name).props, (_, heard) => feed(name).heard.push(heard)];
// a part whose value is HTML made by the server
const htmlPart = (element, name) => show(element, ...fed(name));
const give = (name, value) => {
  const { props, heard } = feed(name);
  if (typeof value === "string" && value === props.value) return;
  props.value = value;
  heard.forEach((fn) => fn());
};

// `page`: what the server calls it; `start(choose)` gives the choice that the page begins with, and calls `choose` with another one
const watching = (page, start) => {
  let choice = {};
  let seen = "";
  let turn = 0;
  let timer = 0;
  let missed = 0;
  let chose = false;
  let notice = null;
  document.body.classList.add("lab-unanswered"); // what depends on the first answer is seen when it is in its place (shared.css)
  const lost = (why) => {
    if (why && !notice) document.body.append((notice = h("p", { class: "lab-lost", role: "alert" })));
    if (why && notice.textContent !== why) notice.textContent = why;
    if (!why && notice) {
      notice.remove();
      notice = null;
    }
  };
  const ask = async (did = false) => {
    clearTimeout(timer);
    const mine = ++turn;
    let answer = null;
    let why = ""; // nothing: no answer; why: what the server says of its store
    try {
      const reply = await fetch("look/" + page, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ chosen: choice, seen, chose, did, language: LANGUAGE }),
      });
      if (reply.ok) answer = reply.status === 204 ? {} : await reply.json();
      else if (reply.status === 503) why = await reply.text();
    } catch {
      /* asked again below */
    }
    if (mine !== turn) return; // asked once more meanwhile
    missed = answer ? 0 : missed + 1;
    if (answer || why || missed > 2) setTimeout(() => document.body.classList.remove("lab-unanswered"), 0);
    lost(why || (missed > 2 ? say("bench.lost") : ""));
    const pause = document.hidden ? HIDDEN : EVERY * 2 ** Math.max(0, missed - 1);
    timer = setTimeout(() => (document.hidden && !background.some((wanted) => wanted())) || ask(), Math.min(LONGEST, pause));
    if (!answer || !answer.parts) return;
    chose = false;
    seen = answer.seen;
    for (const [name, value] of Object.entries(answer.parts)) give(name, value);
  };
  reading = () => choice;
  asking = () => ask(true);
  choice = start((value) => {
    choice = value;
    chose = true;
    ask();
  });
  document.addEventListener("visibilitychange", () => document.hidden || ask());
  ask();
};

register({ fed, htmlPart, watching });
