// Moves a recorded playground: inputs choose a state, and plotly.js draws it. Nothing else is loaded.
(async () => {
  const box = document.currentScript?.closest(".seqrec-replay") ?? [...document.querySelectorAll(".seqrec-replay:not([data-alive])")][0];
  box.dataset.alive = "yes";
  const plot = box.querySelector(".seqrec-plot"), told = box.querySelector('[role="status"]');
  const bytes = Uint8Array.from(atob(box.querySelector("template").innerHTML.trim()), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { base, paths, pool, states, sentences, controls, presets } = JSON.parse(await new Response(stream).text());
  window.seqrecPlotly ??= window.Plotly ? Promise.resolve() : new Promise((ready, failed) => {
    const script = document.createElement("script");
    Object.assign(script, { src: "plotly.min.js", onload: ready, onerror: () => failed(new Error("plotly.min.js")) });
    document.head.append(script);
  });
  const inputs = [...box.querySelectorAll("[data-control]")];
  const place = (input) => input.type === "checkbox" ? Number(input.checked) : Number(input.value);
  const dark = document.body.classList.contains("quarto-dark");
  const paint = dark ? { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: "#ddd" } } : {};
  function figure(number) {
    const made = structuredClone(base);
    states[number].forEach((value, i) => {
      const keys = paths[i];
      keys.slice(0, -1).reduce((part, key) => part[key], made)[keys.at(-1)] = pool[value];
    });
    Object.assign(made.layout, paint, { autosize: true, width: Math.min(made.layout.width ?? 700, box.clientWidth) });
    return made;
  }
  function draw() {
    const number = inputs.reduce((n, input, i) => n * controls[i].length + place(input), 0);
    inputs.forEach((input, i) => {
      input.parentElement.querySelector("output")?.replaceChildren(controls[i][place(input)].text);
      if (input.type === "range") input.setAttribute("aria-valuetext", controls[i][place(input)].text);
    });
    told.textContent = sentences[number];
    const made = figure(number);
    Plotly.react(plot, made.data, made.layout, { displayModeBar: false, responsive: true });
  }
  inputs.forEach((input) => input.addEventListener("input", draw));
  box.querySelectorAll("[data-preset]").forEach((button) => button.addEventListener("click", () => {
    presets[button.dataset.preset].forEach((value, i) =>
      inputs[i].type === "checkbox" ? inputs[i].checked = Boolean(value) : inputs[i].value = value);
    draw();
  }));
  const steps = box.querySelector("[data-play]"), still = matchMedia("(prefers-reduced-motion: reduce)");
  let timer = null;
  steps?.addEventListener("click", () => {
    const input = inputs[steps.dataset.play], stop = () => { clearInterval(timer); timer = null; steps.textContent = "play"; };
    if (timer) return stop();
    steps.textContent = "stop";
    if (Number(input.value) >= Number(input.max)) input.value = 0;
    timer = setInterval(() => {
      input.value = Number(input.value) + 1;
      draw();
      if (Number(input.value) >= Number(input.max)) stop();
    }, still.matches ? 1500 : 600);
  });
  await window.seqrecPlotly;
  draw();
})();
