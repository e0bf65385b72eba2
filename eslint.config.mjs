// Rules for the scripts of the pages and their tests; `npm run lint`.
import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    files: ["lab/**/*.js"],
    languageOptions: { globals: { ...globals.browser, Plotly: "readonly" } },
    rules: {
      "no-shadow": ["error", { builtinGlobals: false }],
      "no-unused-vars": ["error", { args: "after-used" }],
      "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      eqeqeq: "error",
      "id-denylist": ["error", "told", "said", "plain", "shown"],
      "one-var": ["error", "never"],
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-restricted-globals": ["error", "event", "name", "status"],
    },
  },
  { files: ["tests/**/*.mjs", "*.mjs"], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
];
