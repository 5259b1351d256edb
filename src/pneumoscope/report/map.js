// The maps of a report: point at a film, draw a loop around some, or find one by name.
for (const figure of document.querySelectorAll(".living-map")) {
  const known = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const canvas = figure.querySelector("canvas");
  const [card, list, hint, search] = ["card", "list", "hint", "search"].map((name) => figure.querySelector(`.map-${name}`));
  const MOST_LISTED = 200;
  const REACH = 12;
  let loop = [];
  let shown = -1;

  const at = (number) => [
    12 + (canvas.clientWidth - 24) * known.x[number], 12 + (canvas.clientHeight - 24) * (1 - known.y[number]),
  ];
  const color = (name) => getComputedStyle(canvas).getPropertyValue(name).trim();

  function draw() {
    const ratio = devicePixelRatio || 1;
    Object.assign(canvas, { width: canvas.clientWidth * ratio, height: canvas.clientHeight * ratio });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    known.names.forEach((_, number) => {
      const [x, y] = at(number);
      const size = known.origins[number] === 0 ? 1.6 : 3;
      context.fillStyle = known.labels[number] < 0 ? color("--ink") : known.colors[known.labels[number]];
      context.globalAlpha = known.origins[number] === 0 ? 0.45 : 1;
      context.fillRect(x - size, y - size, 2 * size, 2 * size);
    });
    context.globalAlpha = 1;
    context.strokeStyle = color("--ink");
    for (const number of shown < 0 ? [] : [shown, ...known.nearest[shown]]) {
      context.lineWidth = number === shown ? 3 : 1.5;
      context.beginPath();
      context.arc(...at(number), number === shown ? 8 : 6, 0, 2 * Math.PI);
      context.stroke();
    }
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [x, y] of loop) context.lineTo(x, y);
    context.stroke();
  }

  function describe(number) {
    const label = known.labels[number] < 0 ? "class not known" : known.classes[known.labels[number]];
    return `${known.names[number]}, ${label}`;
  }

  function picture(number) {
    const film = document.createElement("span");
    if (!known.sprite || known.origins[number] === 2) return film;
    const { side, across } = known;
    film.className = "film";
    film.style.cssText = `width:${side}px;height:${side}px;background-image:url(${known.sprite});` +
      `background-position:-${side * (number % across)}px -${side * Math.floor(number / across)}px`;
    return film;
  }

  function show(number) {
    shown = number;
    const near = number < 0 ? [] : known.nearest[number];
    card.replaceChildren(...[number, ...near].filter((one) => one >= 0).map((one, place) => {
      const entry = document.createElement("p");
      entry.append(picture(one), `${place ? "near it: " : ""}${describe(one)}`);
      return entry;
    }));
    draw();
  }

  function listFilms(numbers, told) {
    hint.textContent = `${told}: ${numbers.length}${numbers.length > MOST_LISTED ? `, of which ${MOST_LISTED} are listed` : ""}.`;
    list.replaceChildren(...numbers.slice(0, MOST_LISTED).map((number) => {
      const [entry, button] = [document.createElement("li"), document.createElement("button")];
      button.type = "button";
      button.textContent = describe(number);
      for (const name of ["focus", "click", "mouseenter"]) button.addEventListener(name, () => show(number));
      entry.append(button);
      return entry;
    }));
  }

  function isInside(x, y) {
    let inside = false;
    for (let one = 0, other = loop.length - 1; one < loop.length; other = one, one += 1) {
      const [[ax, ay], [bx, by]] = [loop[one], loop[other]];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
    }
    return inside;
  }

  const everyone = known.names.map((_, number) => number);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    loop = [[event.offsetX, event.offsetY]];
  });
  canvas.addEventListener("pointermove", (event) => {
    const { offsetX: x, offsetY: y } = event;
    if (event.buttons && loop.length) {
      loop.push([x, y]);
      draw();
      return;
    }
    let [nearest, best] = [-1, REACH ** 2];
    for (const number of everyone) {
      const [px, py] = at(number);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < best) [nearest, best] = [number, distance];
    }
    if (nearest !== shown) show(nearest);
  });
  canvas.addEventListener("pointerup", () => {
    if (loop.length > 2) listFilms(everyone.filter((number) => isInside(...at(number))), "Films inside the loop");
    else loop = [];
    draw();
  });
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    loop = [];
    listFilms(wanted ? everyone.filter((number) => describe(number).toLowerCase().includes(wanted)) : [], "Films found");
    draw();
  });
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  figure.hidden = false;
}
