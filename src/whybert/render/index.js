"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.getElementById("index");
  const BLANK = 1, SPECIAL = 2, UNKNOWN = 4, STEP = 100;

  // All text goes into the page as text, never as HTML.
  function make(name, kind, ...parts) {
    const found = document.createElement(name);
    if (kind) found.className = kind;
    found.append(...parts);
    return found;
  }

  const paint = (signed, place) => (signed ? "s" : "m") + String(place).replace("-", "n");
  const isAgainst = (place) => place <= -0.2 * data.steps;

  data.items.forEach((item, number) => { item.number = number + 1; });

  function textOf(item) {
    item.text ??= item.figures[0].lines
      .map((line) => line.map((piece) => (piece[3] & BLANK ? " " : "") + piece[0]).join(""))
      .join("  ⟶  ");
    return item.text;
  }

  function wordsOf(item) {
    item.words ??= new Set(item.figures.flatMap((figure) => figure.top.flatMap(([, units]) =>
      units.map(([text]) => text.toLowerCase()))));
    return item.words;
  }

  // A heat map with what belongs to it.

  function chip(figure, [text, score, place], withScore) {
    const found = make("span", "word " + paint(figure.signed, place), make("bdi", "", text));
    if (isAgainst(place)) found.classList.add("against");
    found.title = score;
    return withScore ? [found, score + " "] : [found];
  }

  function paper(figure, line, name) {
    const found = make("div", "paper");
    found.dir = "auto";
    found.lang = "";
    for (const [text, score, place, flags] of line) {
      if (flags & BLANK) found.append(" ");
      const span = make("span", score === null ? "uncovered" : paint(figure.signed, place), text);
      if (flags & SPECIAL) span.classList.add("special");
      if (score !== null && isAgainst(place)) span.classList.add("against");
      span.title = score === null ? "not seen by the model"
        : `${text}: ${score}${flags & UNKNOWN ? " (unknown to the tokenizer)" : ""}`;
      found.append(span);
      if (flags & UNKNOWN) found.append(make("sup", "", "?"));
    }
    if (!line.length) found.append(make("span", "uncovered", "(empty text)"));
    return name ? [make("div", "small", name), found] : [found];
  }

  function legend(figure) {
    const low = make("span", figure.signed ? "against" : "", figure.ends[0]);
    const bar = make("span", "bar bar-" + (figure.signed ? "s" : "m"), figure.signed ? "0" : "");
    return make("div", "legend", low, bar, make("span", "", figure.ends[1]));
  }

  function table(figure) {
    const found = make("details", "small", make("summary", "", "All scores"));
    found.addEventListener("toggle", () => {
      if (!found.open || found.children.length > 1) return;
      const level = data.level[0].toUpperCase() + data.level.slice(1);
      const body = make("tbody");
      for (const line of figure.lines) {
        for (const [text, score] of line) {
          if (score === null) continue;
          body.append(make("tr", "", make("td", "", make("bdi", "", text)), make("td", "", score)));
        }
      }
      found.append(make("table", "", make("thead", "",
        make("tr", "", make("th", "", level), make("th", "", "Score"))), body));
    });
    return found;
  }

  function picture(figure) {
    const caption = make("figcaption", "", make("strong", "", figure.method));
    for (const fact of figure.facts) caption.append(" · ", fact);
    const found = make("figure", "", caption);
    if (figure.warning) found.append(make("div", "alert", figure.warning));
    const names = figure.lines.length > 1 ? ["Text", "Pair"] : [""];
    figure.lines.forEach((line, place) => found.append(...paper(figure, line, names[place])));
    found.append(legend(figure));
    for (const [heading, units] of figure.top) {
      const title = heading[0].toUpperCase() + heading.slice(1);
      const listed = units.length ? units.flatMap((unit) => chip(figure, unit, true)) : ["(none)"];
      found.append(make("div", "small", make("strong", "", title), " ", ...listed));
    }
    found.append(table(figure));
    return found;
  }

  // The index: a line for each text, whose heat maps are drawn when it is opened.

  function row(item) {
    const isWrong = item.wrong === true;
    const truth = "truth" in item && item.wrong !== false ? ` ${isWrong ? "≠" : "· label"} ${item.truth}` : "";
    const answer = make("span", isWrong ? "wrong" : "", item.line + truth);
    answer.title = item.line + truth;
    const start = make("span", "start", textOf(item).slice(0, 160));
    start.dir = "auto";
    start.lang = "";
    const words = make("span", "words");
    for (const [, units] of item.figures[0].top) {
      for (const unit of units.slice(0, 3)) words.append(...chip(item.figures[0], unit, false));
    }
    const found = make("details", judged ? "text judged" : "text",
      make("summary", "", make("span", "nr", String(item.number)), answer, start, words));
    found.addEventListener("toggle", () => {
      if (found.open && found.children.length === 1) found.append(...item.figures.map(picture));
    });
    return found;
  }

  // The filter

  function field(name, control) {
    return make("label", "", name, control);
  }

  function select(options) {
    const found = make("select");
    for (const [value, name] of options) {
      const option = make("option", "", name);
      option.value = value;
      found.append(option);
    }
    return found;
  }

  function search(hint) {
    const found = make("input");
    found.type = "search";
    found.placeholder = hint;
    return found;
  }

  const counts = new Map();
  for (const item of data.items) counts.set(item.label, (counts.get(item.label) || 0) + 1);
  const labels = [...counts].sort((one, other) => other[1] - one[1]);
  const wrong = data.items.filter((item) => item.wrong === true).length;
  const judged = data.items.filter((item) => "wrong" in item).length;

  const contains = search("any part of it");
  const word = search("for or against");
  const label = select([["", `all (${data.items.length})`],
    ...labels.map(([name, count], place) => [String(place), `${name} (${count})`])]);
  const verdict = select([["", `all (${data.items.length})`], ["wrong", `wrong (${wrong})`],
    ["right", `right (${judged - wrong})`]]);
  const order = select([["", "as given"], ["up", "lowest first"], ["down", "highest first"]]);
  const output = make("output");
  const list = make("div");
  const more = make("button", "more", "Show more");
  more.type = "button";

  const fields = [field("Prediction", label), field("Text has", contains), field("Top word", word)];
  if (judged) fields.splice(1, 0, field("Against its label", verdict));
  fields.push(field("Probability or number", order));
  const form = make("form", "filter", ...fields, output);

  let found = [];
  let shown = 0;

  function show() {
    const part = found.slice(shown, shown + STEP);
    list.append(...part.map(row));
    shown += part.length;
    more.hidden = shown >= found.length;
  }

  function filter() {
    const part = contains.value.trim().toLowerCase();
    const wanted = word.value.trim().toLowerCase();
    const name = label.value === "" ? null : labels[Number(label.value)][0];
    found = data.items.filter((item) => (name === null || item.label === name)
      && (verdict.value === "" || item.wrong === (verdict.value === "wrong"))
      && (wanted === "" || wordsOf(item).has(wanted))
      && (part === "" || textOf(item).toLowerCase().includes(part)));
    if (order.value) {
      const sign = order.value === "up" ? 1 : -1;
      found.sort((one, other) => sign * (one.answer - other.answer) || one.number - other.number);
    }
    output.textContent = `${found.length} of ${data.items.length} texts`;
    list.replaceChildren();
    shown = 0;
    show();
    if (found.length === 1) list.firstChild.open = true;
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  more.addEventListener("click", show);
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && !more.hidden) show();
  }, { rootMargin: "600px" }).observe(more);

  root.append(form, list, more);
  root.hidden = false;
  root.parentElement.classList.add("wide");
  filter();
})();
