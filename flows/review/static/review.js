// The review page's own script: choosing images, dialogs, keys and zoom. Pages work without it, less comfortably.

const chosen = new Set(); // content hashes, also of pages of the grid that are not shown now
let everything = false; // all images of the cluster are chosen, those of other pages too
const exceptions = new Set(); // of everything: images that were left again
let lastClicked = null;

const one = (selector, inside = document) => inside.querySelector(selector);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const boxes = () => all('#choice input[name="image"]');
const isChosen = (content) => (everything ? !exceptions.has(content) : chosen.has(content));

/** Show what only works with this script. */
function reveal() {
  document.body.classList.add("has-script");
  for (const element of all(".needs-script[hidden]")) element.hidden = false;
}

/** Put the choice into the form and its words. */
function showChoice() {
  const form = one("#choice");
  if (!form) return;
  for (const box of boxes()) box.checked = isChosen(box.value);
  form.elements.images.value = everything ? "" : [...chosen].join(" ");
  form.elements.everything.value = everything ? "1" : "";
  form.elements.exceptions.value = [...exceptions].join(" ");
  const bar = one(".choice-bar", form);
  if (!bar) return;
  const count = everything ? Number(one("#all-of-them").dataset.many) - exceptions.size : chosen.size;
  const told = one(".n-chosen", bar);
  told.textContent = count ? `${count.toLocaleString("en")} selected` : told.dataset.none;
  bar.classList.toggle("has-choice", count > 0);
  for (const button of all('button[type="submit"], #clear-choice', bar)) button.disabled = count === 0;
}

/** Choose or leave one image, or with shift all from the last one to it. */
function pick(box, isRange) {
  const list = boxes();
  const from = isRange && lastClicked ? list.findIndex((other) => other.value === lastClicked) : -1;
  const to = list.indexOf(box);
  const range = from < 0 ? [box] : list.slice(Math.min(from, to), Math.max(from, to) + 1);
  for (const { value } of range) {
    if (everything) box.checked ? exceptions.delete(value) : exceptions.add(value);
    else box.checked ? chosen.add(value) : chosen.delete(value);
  }
  lastClicked = box.value;
  showChoice();
}

document.addEventListener("click", (event) => {
  const box = event.target.closest('#choice input[name="image"]');
  if (box) return pick(box, event.shiftKey);
  const id = event.target.closest("button")?.id;
  if (id === "all-here") for (const { value } of boxes()) everything ? exceptions.delete(value) : chosen.add(value);
  if (id === "all-of-them") { everything = true; exceptions.clear(); }
  if (id === "clear-choice") { chosen.clear(); exceptions.clear(); everything = false; }
  if (["all-here", "all-of-them", "clear-choice"].includes(id)) showChoice();
  if (event.target.closest("[data-close]") && one("#dialog").open) {
    event.preventDefault();
    one("#dialog").close();
  }
});
// a range is chosen, not its text
document.addEventListener("mousedown", (event) => { if (event.shiftKey && event.target.closest(".pick")) event.preventDefault(); });

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.target.id === "dialog" && !event.target.open) event.target.showModal();
  reveal();
  showChoice();
});
document.addEventListener("htmx:responseError", (event) => {
  const dialog = one("#dialog");
  dialog.replaceChildren(Object.assign(document.createElement("p"), { textContent: `The server refused this (status ${event.detail.xhr.status}). Load the page again.` }));
  if (!dialog.open) dialog.showModal();
});

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input:not([type=checkbox]), select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (one("#dialog")?.open || event.target.closest("#viewer")) return;
  if (document.body.classList.contains("no-keys")) return;
  const target = one(`[data-key~="${CSS.escape(event.key)}"]`);
  if (!target) return;
  event.preventDefault();
  if (target.matches("input:not([type=checkbox])")) target.select();
  else target.click();
});

/** Zoom and move the picture of an image's page. */
function viewer(frame) {
  const sheet = one(".sheet", frame);
  let scale = 1, x = 0, y = 0, held = null;
  const show = () => {
    sheet.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    frame.classList.toggle("is-close", scale > 3);
  };
  const fit = () => { [scale, x, y] = [1, 0, 0]; show(); };
  // what lies under the pointer stays there; `left` and `top` are inside the sheet as it is shown
  const zoom = (factor, left, top) => {
    const wanted = Math.min(Math.max(scale * factor, 1), 40);
    const change = wanted / scale;
    [x, y, scale] = [x - left * (change - 1), y - top * (change - 1), wanted];
    if (scale === 1) [x, y] = [0, 0];
    show();
  };
  const middle = () => {
    const [outer, inner] = [frame.getBoundingClientRect(), sheet.getBoundingClientRect()];
    return [outer.left + outer.width / 2 - inner.left, outer.top + outer.height / 2 - inner.top];
  };
  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    const inner = sheet.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - inner.left, event.clientY - inner.top);
  }, { passive: false });
  frame.addEventListener("pointerdown", (event) => { held = [event.clientX - x, event.clientY - y]; frame.setPointerCapture(event.pointerId); });
  frame.addEventListener("pointermove", (event) => { if (held && scale > 1) { [x, y] = [event.clientX - held[0], event.clientY - held[1]]; show(); } });
  frame.addEventListener("pointerup", () => { held = null; });
  frame.addEventListener("dragstart", (event) => event.preventDefault());
  frame.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own: zoom, back
    const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.key === "+" || event.key === "=") zoom(1.25, ...middle());
    else if (event.key === "-") zoom(0.8, ...middle());
    else if (event.key === "0") fit();
    else if (event.key in steps && scale > 1) { x += steps[event.key][0]; y += steps[event.key][1]; show(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  document.addEventListener("click", (event) => {
    const how = event.target.closest("[data-zoom]")?.dataset.zoom;
    if (how === "fit") fit();
    else if (how) zoom(how === "in" ? 1.25 : 0.8, ...middle());
  });
}

reveal();
showChoice();
if (one("#viewer")) viewer(one("#viewer"));
