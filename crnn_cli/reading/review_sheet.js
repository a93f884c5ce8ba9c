"use strict";

const DOUBTFUL = 0.9; // characters of less confidence are marked
const BAD = 0.5; // and those of less than this in another colour
const ROWS_AT_ONCE = 50;
const ESCAPES = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r" };

// A field of TSV, with the escapes of crnn predict.
function escapeField(text) {
  return text.replace(/[\\\t\n\r]/g, (character) => ESCAPES[character]);
}

// UTF-8, in which bytes of paths that are not text are those bytes again (Python's surrogateescape).
function encode(text) {
  return text
    .split(/([\udc80-\udcff])/u)
    .map((part, index) =>
      index % 2 ? Uint8Array.of(part.charCodeAt(0) - 0xdc00) : new TextEncoder().encode(part),
    );
}

// The parts of the file for rows whose text is not empty.
function labelFile(rows) {
  return rows
    .filter((row) => row.text)
    .flatMap((row) => {
      const confidence = row.checked ? 1 : row.confidence;
      const fields = [escapeField(row.path), escapeField(row.text), confidence.toFixed(4)];
      return encode(`${fields.join("\t")}\n`);
    });
}

function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// An argument of a shell.
function quote(argument) {
  return /^[\w.-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}

function takeData(kind) {
  return Array.from(document.querySelectorAll(`script.${kind}`), (block) => {
    block.remove();
    return JSON.parse(block.textContent);
  });
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function start() {
  const byId = (id) => document.getElementById(id);
  const rows = takeData("reading").map((row) => ({ ...row, reading: row.text, checked: false }));
  const inputs = [];
  const page = decodeURIComponent(location.pathname).split("/").pop();
  const fileName = `${page.replace(/\.html?$/i, "") || "readings"}.corrected.tsv`;
  let unsaved = false;

  function showProgress() {
    const checked = rows.filter((row) => row.checked).length;
    byId("progress").textContent =
      `${checked.toLocaleString("en")} of ${count(rows.length, "reading")} checked`;
    byId("save-checked").disabled = !checked;
  }

  function save(chosen) {
    const kept = chosen.filter((row) => row.text).length;
    const url = URL.createObjectURL(new Blob(labelFile(chosen), { type: "application/octet-stream" }));
    element("a", { href: url, download: fileName }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    const empty = chosen.length - kept;
    byId("status").textContent =
      `Saved ${count(kept, "row")} as ${fileName}` +
      (empty ? `; left out ${count(empty, "image")} with an empty field.` : ".");
    unsaved = false;
  }

  function saveChecked() {
    const checked = rows.filter((row) => row.checked);
    if (checked.length) save(checked);
    else byId("status").textContent = "No reading is checked yet: there is nothing to save.";
  }

  function picture(row, last) {
    if (!row.image) return element("p", {}, "The image could not be read again to be shown.");
    const image = element("img", { src: row.image, alt: "" });
    const frame = element("div", { className: "picture" }, image);
    image.addEventListener("load", () => {
      frame.classList.toggle("tall", image.naturalHeight > 1.5 * image.naturalWidth);
    });
    for (const [, confidence, left, right] of row.characters) {
      if (confidence >= DOUBTFUL) continue;
      const line = element("i", { className: confidence < BAD ? "bad" : "" });
      line.style.left = `${100 * left}%`;
      line.style.width = `${100 * (right - left)}%`;
      frame.append(line);
    }
    return element("div", { className: "scroll", tabIndex: -1 }, frame);
  }

  function characters(row) {
    const parts = row.characters.map(([text, confidence]) =>
      confidence >= DOUBTFUL
        ? text
        : element(
            "mark",
            { className: confidence < BAD ? "bad" : "", title: confidence.toFixed(2) },
            text,
          ),
    );
    return element("p", { className: "characters" }, ...parts);
  }

  function addRow(row, index) {
    const box = element("input", { type: "checkbox", tabIndex: -1 });
    const input = element("input", {
      type: "text", value: row.text, dir: "auto", spellcheck: false, autocomplete: "off",
    });
    input.setSelectionRange(0, 0);
    input.setAttribute("autocapitalize", "off");
    input.setAttribute("aria-label", `Text of image ${index + 1}, ${row.path}`);
    const view = picture(row);
    const item = element(
      "li",
      {},
      element(
        "p",
        { className: "about" },
        element("bdi", { dir: "ltr" }, row.path),
        element("label", {}, `${row.confidence.toFixed(4)} `, box, " checked"),
      ),
      view,
      characters(row),
      input,
    );

    function check(checked) {
      row.checked = checked;
      box.checked = checked;
      item.classList.toggle("checked", checked);
      unsaved = true;
      byId("status").textContent = "";
      showProgress();
    }

    // A long line scrolls to the place that is being typed.
    function follow() {
      const share = input.selectionStart / Math.max(1, input.value.length);
      view.scrollLeft = share * (view.scrollWidth - view.clientWidth);
    }

    box.addEventListener("change", () => check(box.checked));
    input.addEventListener("input", () => {
      row.text = input.value;
      check(true);
      follow();
    });
    input.addEventListener("keyup", follow);
    input.addEventListener("focus", () => {
      if (index >= inputs.length - 5) addRows();
    });
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") {
        event.preventDefault();
        if (!event.shiftKey) check(true);
        const next = inputs[index + (event.shiftKey ? -1 : 1)];
        (next ?? (event.shiftKey ? input : byId("save-checked"))).focus();
      } else if (event.key === "Escape") {
        row.text = row.reading;
        input.value = row.reading;
        check(false);
      }
    });
    inputs.push(input);
    byId("readings").append(item);
  }

  function addRows() {
    const end = Math.min(rows.length, inputs.length + ROWS_AT_ONCE);
    while (inputs.length < end) addRow(rows[inputs.length], inputs.length);
    const rest = rows.length - inputs.length;
    byId("more").hidden = !rest;
    byId("more").textContent = `${count(rest, "further reading")} below`;
  }

  function showLeftOut() {
    const leftOut = Number(document.body.dataset.leftOut);
    byId("left-out").hidden = !leftOut;
    byId("left-out").textContent =
      `This sheet has no room for ${count(leftOut, "more confident reading")}, which no file saved` +
      " from here has.";
  }

  function showFailures() {
    const failures = takeData("failure");
    const more = Number(document.body.dataset.errorsLeftOut);
    const section = byId("failures");
    section.hidden = !failures.length;
    section.querySelector("h2").textContent =
      `${count(failures.length + more, "image")} could not be read` +
      (more ? `, of which these are the first ${failures.length.toLocaleString("en")}` : "");
    const items = failures.map((failure) => element("li", {}, element("bdi", {}, failure.error)));
    section.querySelector("ul").append(...items);
  }

  byId("command").textContent = `crnn build-lmdb . ${quote(fileName)}`;
  byId("save-checked").addEventListener("click", saveChecked);
  byId("save-all").addEventListener("click", () => save(rows));
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "s") {
      event.preventDefault();
      saveChecked();
    }
  });
  addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) addRows();
  }).observe(byId("more"));
  showLeftOut();
  showFailures();
  showProgress();
  addRows();
  inputs[0]?.focus();
}

document.addEventListener("DOMContentLoaded", start);
