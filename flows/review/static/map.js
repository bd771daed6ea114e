// The map: every image a point. ECharts draws; choosing with a lasso, keys and the picture under the pointer are here.

const SHAPES = ["circle", "triangle", "rect", "diamond"]; // beside the colours: never colour alone
const STEPS = 10000; // places are whole numbers to this far from the middle
const frame = document.querySelector("#map");
const told = document.querySelector("#map-told");
const lasso = document.querySelector("#lasso");
const picker = document.querySelector("#colour-by");
const hover = document.querySelector("#map-hover");
const form = document.querySelector("#map-form");
const isDark = window.matchMedia("(prefers-color-scheme: dark)");

const state = { images: [], x: [], y: [], groups: [], of: [], hidden: new Set(), chosen: new Set(), at: -1 };
const chart = echarts.init(frame, null, { renderer: "canvas" });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isShown = (at) => !state.hidden.has(state.of[at]);

async function ask(address) {
  const answer = await fetch(address, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  return answer.json();
}

/** Width of a point in pixels: the fewer, the larger. */
function sizeOf(n) {
  if (n > 20000) return 3;
  if (n > 3000) return 5;
  return n > 400 ? 7 : 11;
}

/** Draw every group as a series of its own, and what is chosen on top. */
function draw() {
  const size = sizeOf(state.images.length);
  const points = state.groups.map(() => []);
  state.images.forEach((_, at) => points[state.of[at]].push([state.x[at], state.y[at]]));
  const series = state.groups.map((group, number) => ({
    type: "scatter", id: `group-${number}`, data: state.hidden.has(number) ? [] : points[number], silent: true,
    symbol: SHAPES[number % SHAPES.length], symbolSize: size, large: true, largeThreshold: 400,
    itemStyle: { color: group.colour, opacity: 0.75 },
  }));
  const ringed = [...state.chosen].filter(isShown).map((at) => [state.x[at], state.y[at]]);
  series.push({
    type: "scatter", id: "chosen", data: ringed, silent: true, symbol: "circle", symbolSize: size + 3, large: true, largeThreshold: 4000,
    itemStyle: { color: "transparent", borderColor: colour("--ink"), borderWidth: 1, opacity: 0.6 }, z: 5,
  });
  const here = state.at >= 0 ? [[state.x[state.at], state.y[state.at]]] : [];
  series.push({
    type: "scatter", id: "here", data: here, silent: true, symbol: "circle", symbolSize: size + 12,
    itemStyle: { color: "transparent", borderColor: colour("--link"), borderWidth: 3 }, z: 6,
  });
  chart.setOption({ series }, { replaceMerge: ["series"] });
}

/** Only what is chosen, and where the keys are: quicker than all of it. */
function drawMarks() {
  const ringed = [...state.chosen].filter(isShown).map((at) => [state.x[at], state.y[at]]);
  const here = state.at >= 0 ? [[state.x[state.at], state.y[state.at]]] : [];
  chart.setOption({ series: [{ id: "chosen", data: ringed }, { id: "here", data: here }] });
}

function begin() {
  const ends = { min: -STEPS, max: STEPS, show: false, type: "value" };
  chart.setOption({
    animation: false, grid: { left: 8, right: 8, top: 8, bottom: 8 }, xAxis: ends, yAxis: ends,
    dataZoom: [
      { type: "inside", xAxisIndex: 0, filterMode: "none", zoomOnMouseWheel: true, moveOnMouseMove: true },
      { type: "inside", yAxisIndex: 0, filterMode: "none", zoomOnMouseWheel: true, moveOnMouseMove: true },
    ],
    series: [],
  });
  fit();
}

/** Show the whole map, one scale for both ways. */
function fit() {
  const farthest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), STEPS / 100);
  const scale = 1.06 * Math.max(farthest(state.x) / frame.clientWidth, farthest(state.y) / frame.clientHeight);
  const axis = (side) => ({ min: -scale * side, max: scale * side });
  const whole = { start: 0, end: 100 };
  chart.setOption({ xAxis: axis(frame.clientWidth), yAxis: axis(frame.clientHeight), dataZoom: [whole, whole] });
}

function showGroups() {
  const sizes = state.groups.map(() => 0);
  for (const of of state.of) sizes[of] += 1;
  const list = document.querySelector("#map-groups");
  list.replaceChildren(...state.groups.map((group, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!state.hidden.has(number)));
    button.dataset.shape = SHAPES[number % SHAPES.length];
    const mark = document.createElement("span");
    mark.className = "mark-of-group";
    mark.style.color = group.colour;
    mark.setAttribute("aria-hidden", "true");
    mark.textContent = { circle: "●", triangle: "▲", rect: "■", diamond: "◆" }[button.dataset.shape];
    button.append(mark, ` ${group.text} `, Object.assign(document.createElement("span"), { className: "dim", textContent: sizes[number].toLocaleString("en") }));
    button.addEventListener("click", () => {
      state.hidden.has(number) ? state.hidden.delete(number) : state.hidden.add(number);
      button.setAttribute("aria-pressed", String(!state.hidden.has(number)));
      draw();
    });
    return Object.assign(document.createElement("li"), {}).appendChild(button).parentNode;
  }));
}

async function colourBy(by) {
  const found = await ask(`${frame.dataset.colours}?by=${encodeURIComponent(by)}`);
  if (by !== picker.value) return; // somebody has chosen another colouring meanwhile
  Object.assign(state, { groups: found.groups, of: found.of, hidden: new Set() });
  draw();
  showGroups();
}

/** Image nearest to a place in pixels, if it is near; -1 where none is. */
function nearest(left, top, most = 14) {
  const [zero, one] = [chart.convertToPixel({ gridIndex: 0 }, [0, 0]), chart.convertToPixel({ gridIndex: 0 }, [STEPS, STEPS])];
  const [across, down] = [(one[0] - zero[0]) / STEPS, (one[1] - zero[1]) / STEPS];
  let best = -1, least = most * most;
  for (let at = 0; at < state.images.length; at += 1) {
    const away = (zero[0] + state.x[at] * across - left) ** 2 + (zero[1] + state.y[at] * down - top) ** 2;
    if (away < least && isShown(at)) [best, least] = [at, away];
  }
  return best;
}

function showPicture(at) {
  hover.hidden = at < 0;
  if (at < 0) return;
  const content = state.images[at];
  const picture = hover.querySelector("img");
  const address = `${frame.dataset.pictures}${content}/thumbnail`;
  if (picture.getAttribute("src") !== address) picture.src = address;
  hover.querySelector("figcaption").textContent = state.groups[state.of[at]].text;
  const [left, top] = chart.convertToPixel({ gridIndex: 0 }, [state.x[at], state.y[at]]);
  hover.style.left = `${Math.min(Math.max(left + 16, 0), frame.clientWidth - 170)}px`;
  hover.style.top = `${Math.min(Math.max(top - 80, 0), frame.clientHeight - 190)}px`;
}

/** Say what is chosen, and let the server show it. */
function choose(rows) {
  state.chosen = new Set(rows);
  drawMarks();
  told.textContent = state.chosen.size ? `${state.chosen.size.toLocaleString("en")} chosen` : "Nothing is chosen.";
  form.elements.images.value = [...state.chosen].map((at) => state.images[at]).join(" ");
  htmx.trigger(form, "submit");
}

/** Whether a place is inside a polygon; both in the same unit. */
function inside(x, y, line) {
  let is = false;
  for (let i = 0, j = line.length - 1; i < line.length; j = i, i += 1) {
    const [[xi, yi], [xj, yj]] = [line[i], line[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) is = !is;
  }
  return is;
}

let line = null; // of the lasso, in pixels

function setLasso(on) {
  lasso.setAttribute("aria-pressed", String(on));
  frame.classList.toggle("is-lasso", on);
  chart.setOption({ dataZoom: [{ disabled: on }, { disabled: on }] });
}

function showLine() {
  const shape = line && line.length > 1 ? { points: line } : { points: [] };
  chart.setOption({ graphic: [{ id: "lasso", type: "polygon", silent: true, shape, z: 20,
    style: { fill: "rgba(60, 120, 220, 0.15)", stroke: colour("--link"), lineWidth: 2 } }] });
}

const place = (event) => { const box = frame.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const isLasso = () => lasso.getAttribute("aria-pressed") === "true";

frame.addEventListener("pointerdown", (event) => {
  if (!(isLasso() || event.shiftKey)) return;
  if (!isLasso()) setLasso(true);
  line = [place(event)];
  frame.setPointerCapture(event.pointerId);
  event.preventDefault();
  event.stopPropagation();
}, true);

frame.addEventListener("pointermove", (event) => {
  if (line) { line.push(place(event)); showLine(); return; }
  showPicture(nearest(...place(event)));
});

frame.addEventListener("pointerup", () => {
  if (!line) return;
  const drawn = line.map((at) => chart.convertFromPixel({ gridIndex: 0 }, at));
  line = null;
  showLine();
  setLasso(false);
  const start = performance.now();
  const rows = drawn.length > 2 ? state.images.map((_, at) => at).filter((at) => isShown(at) && inside(state.x[at], state.y[at], drawn)) : [];
  choose(rows);
  frame.dataset.milliseconds = (performance.now() - start).toFixed(1);
});

frame.addEventListener("pointerleave", () => { if (!line) showPicture(-1); });
frame.addEventListener("dblclick", (event) => open(nearest(...place(event))));

function open(at) {
  if (at >= 0) window.location.assign(`${frame.dataset.images}${state.images[at]}`);
}

/** The nearest image in a direction: the keys go from image to image. */
function step(across, down) {
  if (state.at < 0) return nearest(frame.clientWidth / 2, frame.clientHeight / 2, 1e5);
  const [x, y] = [state.x[state.at], state.y[state.at]];
  let best = state.at, least = Infinity;
  for (let at = 0; at < state.images.length; at += 1) {
    const [right, up] = [state.x[at] - x, state.y[at] - y];
    const ahead = right * across + up * down;
    const away = right * right + up * up;
    if (ahead <= 0 || ahead * ahead < away / 2 || !isShown(at)) continue;
    if (away < least) [best, least] = [at, away];
  }
  return best;
}

function zoom(factor) {
  const option = chart.getOption().dataZoom;
  const next = option.map((one) => {
    const middle = (one.start + one.end) / 2;
    const half = Math.min(50, ((one.end - one.start) / 2) * factor);
    const start = Math.min(Math.max(middle - half, 0), 100 - 2 * half);
    return { start, end: start + 2 * half };
  });
  chart.setOption({ dataZoom: next });
}

frame.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own: zoom, back
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  if (event.key in ways) {
    state.at = step(...ways[event.key]);
    drawMarks();
    showPicture(state.at);
  } else if (event.key === "Enter") open(state.at);
  else if (event.key === " " && state.at >= 0) {
    const rows = new Set(state.chosen);
    rows.has(state.at) ? rows.delete(state.at) : rows.add(state.at);
    choose(rows);
  } else if (event.key === "Escape") choose([]);
  else if (event.key === "+" || event.key === "=") zoom(0.7);
  else if (event.key === "-") zoom(1.4);
  else return;
  event.preventDefault();
});

lasso.addEventListener("click", () => setLasso(!isLasso()));
document.querySelector("#map-fit").addEventListener("click", fit);
picker.addEventListener("change", () => colourBy(picker.value));
isDark.addEventListener("change", draw);
new ResizeObserver(() => { chart.resize(); fit(); }).observe(frame);

begin();
try {
  const points = await ask(frame.dataset.points);
  Object.assign(state, { images: points.images, x: points.x, y: points.y });
  fit();
  await colourBy(picker.value);
  const missing = points.missing ? ` ${points.missing.toLocaleString("en")} have no place yet.` : "";
  told.textContent = `${points.images.length.toLocaleString("en")} ${frame.dataset.units}.${missing}`;
  frame.dataset.ready = "1";
} catch (error) {
  told.textContent = `The map cannot be drawn: ${error.message}.`;
}
