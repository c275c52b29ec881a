// Moves a playground without a kernel: inputs choose a recorded state, or a script beside this one computes it
// (window.seqrecComputed[name]), and plotly.js draws it. Nothing else is loaded.
(async () => {
  const box = document.currentScript?.closest(".seqrec-replay") ?? [...document.querySelectorAll(".seqrec-replay:not([data-alive])")][0];
  box.dataset.alive = "yes";
  const plot = box.querySelector(".seqrec-plot"), told = box.querySelector('[role="status"]');
  const bytes = Uint8Array.from(atob(box.querySelector("template").innerHTML.trim()), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const pack = JSON.parse(await new Response(stream).text());
  const { base, controls, presets } = pack;
  window.seqrecPlotly ??= window.Plotly ? Promise.resolve() : new Promise((ready, failed) => {
    const script = document.createElement("script");
    Object.assign(script, { src: "plotly.min.js", onload: ready, onerror: () => failed(new Error("plotly.min.js")) });
    document.head.append(script);
  });
  const inputs = [...box.querySelectorAll("[data-control]")];
  const place = (input) => input.type === "checkbox" ? Number(input.checked) : Number(input.value);
  const dark = document.body.classList.contains("quarto-dark");
  const paint = dark ? { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: "#ddd" } } : {};
  function put(made, path, value) {
    path.slice(0, -1).reduce((part, key) => part[key], made)[path.at(-1)] = value;
  }
  function recorded(places) {
    const number = places.reduce((n, at, i) => n * controls[i].length + at, 0), made = structuredClone(base);
    pack.states[number].forEach((value, i) => put(made, pack.paths[i], pack.pool[value]));
    return [made, pack.sentences[number]];
  }
  function computed(places) {
    const values = Object.fromEntries(Object.entries(pack.values).map(([name, all], i) => [name, all[places[i]]]));
    const { changes, sentence } = window.seqrecComputed[pack.name](values, pack.data), made = structuredClone(base);
    changes.forEach(([path, value]) => put(made, path, value));
    return [made, sentence];
  }
  function draw() {
    const places = inputs.map(place);
    inputs.forEach((input, i) => {
      input.parentElement.querySelector("output")?.replaceChildren(controls[i][places[i]].text);
      if (input.type === "range") input.setAttribute("aria-valuetext", controls[i][places[i]].text);
    });
    const [made, sentence] = pack.states ? recorded(places) : computed(places);
    told.textContent = sentence;
    const width = Math.min(made.layout.width ?? 700, box.clientWidth);
    Object.assign(made.layout, paint, { autosize: true, width });
    Plotly.react(plot, made.data, made.layout, { displayModeBar: false, responsive: true });
  }
  inputs.forEach((input) => input.addEventListener("input", draw));
  box.querySelectorAll("[data-preset]").forEach((button) => button.addEventListener("click", () => {
    presets[button.dataset.preset].forEach((value, i) =>
      inputs[i].type === "checkbox" ? inputs[i].checked = Boolean(value) : inputs[i].value = value);
    draw();
  }));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  box.querySelectorAll("[data-play]").forEach((button) => {
    const input = inputs[button.dataset.play], text = button.textContent;
    let timer = null;
    const stop = () => { clearInterval(timer); timer = null; button.textContent = text; };
    button.addEventListener("click", () => {
      if (timer) return stop();
      button.textContent = "stop";
      if (Number(input.value) >= Number(input.max)) input.value = 0;
      timer = setInterval(() => {
        input.value = Number(input.value) + 1;
        draw();
        if (Number(input.value) >= Number(input.max)) stop();
      }, still.matches ? 1500 : 600);
    });
  });
  await window.seqrecPlotly;
  draw();
})();
