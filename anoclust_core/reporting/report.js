// Niceties only: the page reads without them.
"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;

  byId("heat-strength")?.addEventListener("input", (event) => {
    root.style.setProperty("--heat", event.target.value / 100);
  });
  byId("open-lists")?.addEventListener("click", () => {
    for (const list of document.querySelectorAll("details.list")) list.open = true;
  });

  const viewer = byId("viewer");
  const tiles = [...document.querySelectorAll(".tile")];
  let current = 0;

  const show = (index) => {
    current = (index + tiles.length) % tiles.length;
    const tile = tiles[current];
    const [photo, heat] = tile.querySelectorAll("img");
    const ratio = photo.naturalWidth / photo.naturalHeight || 1;
    viewer.style.setProperty("--ratio", ratio);
    for (const image of viewer.querySelectorAll(".photo")) image.src = photo.src;
    viewer.querySelector(".heat").src = heat.src;
    const [zoom, place] = [tile.querySelector(".zoom"), tile.querySelector(".place")];
    const [largeZoom, largePlace] = [viewer.querySelector(".zoom"), viewer.querySelector(".place")];
    largeZoom.hidden = largePlace.hidden = !zoom;
    if (zoom) {
      largeZoom.src = zoom.src;
      largePlace.style.cssText = place.style.cssText;
    }
    byId("viewer-title").textContent = tile.dataset.path;
    const facts = viewer.querySelector("dl");
    facts.replaceChildren();
    for (const name of ["cluster", "score", "distance", "label", "split", "part"]) {
      if (!(name in tile.dataset)) continue;
      const row = document.createElement("div");
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = name === "distance" ? "distance to the cluster's mean" : name;
      value.textContent = tile.dataset[name];
      row.append(term, value);
      facts.append(row);
    }
    if (!viewer.open) viewer.showModal();
  };

  tiles.forEach((tile, index) => tile.addEventListener("click", () => show(index)));
  viewer.querySelector("[data-close]").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close();
    const step = Number(event.target.dataset.step);
    if (step) show(current + step);
  });
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) show(current + step);
  });
  viewer.addEventListener("close", () => tiles[current].focus());

  // A picture that cannot be decoded is outlined, not silently empty; the count tells a test that all were.
  window.addEventListener("load", () => {
    const pictures = [...document.querySelectorAll("main img")];
    const broken = pictures.filter((picture) => !(picture.complete && picture.naturalWidth > 0));
    for (const picture of broken) picture.classList.add("broken");
    root.dataset.pictures = `${pictures.length - broken.length}/${pictures.length}`;
  });
})();
