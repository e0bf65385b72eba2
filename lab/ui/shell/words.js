// The language of the page, and the words of its table in it.
const cookie = (name) => (document.cookie.match(new RegExp("(?:^|; )" + name + "=([^;]*)")) || [])[1];
const asked = cookie("lab_language") || ((navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en");

export const LANGUAGE = asked === "zh" ? "zh" : "en";

// The word of a key that the table has, else `fallback`.
export const known = (key, fallback = "") => ((window.LAB_WORDS || {})[key] ? say(key) : fallback);

// The words of a key in the page's language, with {name} filled in; the key itself where there are none.
export const say = (key, values = {}) => {
  const pair = (window.LAB_WORDS || {})[key];
  if (!pair) return key;
  return pair[LANGUAGE === "zh" ? 1 : 0].replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
};

export const metricName = (name) =>
  name.startsWith("f1:") ? say("curve.f1.of", { label: name.slice(3) }) : ofTask(name, (metric) => known("curve.eval_" + metric, metric.replaceAll("_", " ")));

// The words of accuracy/cola, a metric of one of a run's several tasks; those of the metric alone where there is one task.
export const ofTask = (name, words) => {
  const [metric, ...task] = name.split("/");
  return task.length ? say("metric.of", { metric: words(metric), task: task.join("/") }) : words(metric);
};

export const byLanguage = (english, chinese) => (LANGUAGE === "zh" && chinese ? chinese : english);
