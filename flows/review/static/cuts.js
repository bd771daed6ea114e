// The slider: groups of the finest cut are joined again for every number of clusters, here in the browser.

const MOST_PICTURES = 10; // of a group
const slider = document.querySelector("#cut");
const list = document.querySelector("#cut-groups");
const number = document.querySelector("#cut-number");
const told = document.querySelector("#cut-told");
const { unit } = slider.dataset; // image or part
const pictures = new Map(); // elements by content: a picture is loaded once, and moves from group to group

const answer = await fetch(slider.dataset.groups, { headers: { accept: "application/json" } });
const { groups, merges } = answer.ok ? await answer.json() : { groups: [], merges: [] };

/** Groups of the finest cut in each cluster of a cut, the largest cluster first. */
function clusters(n) {
  const parts = groups.map((_, at) => [at]);
  merges.slice(0, groups.length - n).forEach(([first, second], row) => {
    parts[groups.length + row] = [...parts[first], ...parts[second]];
    parts[first] = parts[second] = null;
  });
  const size = (part) => part.reduce((sum, at) => sum + groups[at].size, 0);
  return parts.filter(Boolean).map((part) => ({ part, size: size(part) })).sort((a, b) => b.size - a.size);
}

/** How many images of a cluster have each label, the commonest first. */
function labels(part) {
  const counts = {};
  for (const at of part) for (const [label, n] of Object.entries(groups[at].labels)) counts[label] = (counts[label] ?? 0) + n;
  return Object.entries(counts).sort((a, b) => b[1] - a[1]);
}

/** Typical images of a cluster: one of each of its groups, the largest first, then a second one. */
function typical(part) {
  const bySize = [...part].sort((a, b) => groups[b].size - groups[a].size);
  const found = [];
  for (let turn = 0; found.length < MOST_PICTURES && turn < 8; turn += 1) {
    for (const at of bySize) if (groups[at].typical[turn] && found.length < MOST_PICTURES) found.push(groups[at].typical[turn]);
  }
  return found;
}

function picture(content) {
  if (!pictures.has(content)) {
    const link = document.createElement("a");
    link.href = `${slider.dataset.images}${content}`;
    const image = Object.assign(document.createElement("img"), {
      className: "photo", alt: `a typical ${unit}`, loading: "lazy", decoding: "async", src: `${slider.dataset.pictures}${content}/thumbnail`,
    });
    link.append(image);
    pictures.set(content, link);
  }
  return pictures.get(content);
}

const text = (tag, words, className = "") => Object.assign(document.createElement(tag), { textContent: words, className });
const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
const share = (part) => `${Math.round(100 * part)} %`;

function show() {
  const start = performance.now();
  const n = Number(slider.value);
  const found = clusters(n);
  const total = found.reduce((sum, one) => sum + one.size, 0);
  let [right, labelled] = [0, 0];
  list.replaceChildren(...found.map(({ part, size }, at) => {
    const row = text("li", "", "row");
    const head = text("div", "", "row-head");
    head.append(text("h3", `Group ${at + 1}`), text("p", `${count(size, unit)}, ${share(size / total)}`, "count"));
    const known = labels(part);
    const all = known.reduce((sum, [, of]) => sum + of, 0);
    if (all) {
      [right, labelled] = [right + known[0][1], labelled + all];
      head.append(text("p", `${share(known[0][1] / all)} ${known[0][0]}`, "dim"));
    }
    const strip = text("p", "", "strip");
    strip.append(...typical(part).map(picture));
    row.append(head, strip);
    return row;
  }));
  number.textContent = String(n);
  slider.setAttribute("aria-valuetext", count(n, "cluster"));
  const pure = labelled ? ` Purity ${share(right / labelled)}: so many labelled ${unit}s have the commonest label of their group.` : "";
  told.textContent = `${count(n, "cluster")}${n === Number(slider.dataset.suggested) ? ", as many as suggested" : ""}.${pure}`;
  for (const element of document.querySelectorAll("[data-cut-number]")) element.value = String(n);
  slider.dataset.milliseconds = (performance.now() - start).toFixed(1);
}

slider.addEventListener("input", show);
document.querySelector("#cut-suggested")?.addEventListener("click", () => { slider.value = slider.dataset.suggested; show(); });
if (groups.length) show();
else told.textContent = "The groups cannot be read; load the page again.";
slider.dataset.ready = "1";
