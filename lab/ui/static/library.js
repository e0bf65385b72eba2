// The filter over the gallery's cards.
(function () {
  const Lab = (window.Lab = window.Lab || {});
  const { h, say } = Lab;
  Lab.gallery = (element) => {
    const count = h("span", { class: "lab-muted", role: "status" });
    const filter = h("input", { type: "search", placeholder: say("library.filter"), "aria-label": say("library.filter"), oninput: () => {
      const words = filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean), cards = [...document.querySelectorAll("#library .lab-method")];
      for (const card of cards) card.hidden = !words.every((word) => card.dataset.words.includes(word));
      document.querySelectorAll("#library .lab-family").forEach((part) => { part.hidden = !part.querySelector(".lab-method:not([hidden])"); });
      count.textContent = words.length ? say("library.count", { n: cards.filter((card) => !card.hidden).length }) : "";
    } });
    element.replaceChildren(filter, count);
  };
})();
