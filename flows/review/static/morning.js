// The morning list: focus goes to each new question, and what was done is read out; keys are in review.js.

const one = (selector) => document.querySelector(selector);
const OFF = "anoclust no single keys";

/** Show the question: its text has the focus, so that it is read, and Tab goes on to its answers. */
function ask() {
  (one("#morning [data-focus]") ?? one("#question"))?.focus();
  const told = one("#morning [data-told]");
  if (told) one("#morning-told").textContent = told.dataset.told;
}

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target?.id === "morning") { window.scrollTo(0, 0); ask(); }
});

// Escape leaves a field, so that single keys decide again
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.matches("#morning input")) { event.target.value = event.target.defaultValue; ask(); }
});

const box = one("#keys-on");
box.checked = localStorage.getItem(OFF) === null;
const follow = () => document.body.classList.toggle("no-keys", !box.checked);
box.addEventListener("change", () => {
  if (box.checked) localStorage.removeItem(OFF);
  else localStorage.setItem(OFF, "1");
  follow();
});
follow();
ask();
