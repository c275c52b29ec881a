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
  const dark = () => document.body.classList.contains("quarto-dark");
  // A copy in which black is light: for dark pages.
  function lighter(x) {
    if (x === "#000000") return "#dddddd";
    if (Array.isArray(x)) return x.map(lighter);
    if (x?.constructor !== Object) return x;
    return Object.fromEntries(Object.entries(x).map(([name, value]) => [name, lighter(value)]));
  }
  function darkened({ data, layout }) {
    const made = lighter({ data, layout }), clear = "rgba(0,0,0,0)";
    Object.assign(made.layout, { paper_bgcolor: clear, plot_bgcolor: clear });
    made.layout.font = { ...made.layout.font, color: "#dddddd" };
    for (const [name, axis] of Object.entries(made.layout))
      if (/^[xy]axis/.test(name)) Object.assign(axis, { gridcolor: "#444444", zerolinecolor: "#777777" });
    for (const { type, error_x, error_y } of made.data)
      for (const error of [error_x, error_y]) if (error && type === "bar") error.color ??= "#dddddd";
    return made;
  }
  // The panels of a row, each with its two axes and its title; none where panels are placed otherwise.
  function row(layout) {
    const axes = Object.keys(layout).filter((name) => /^[xy]axis/.test(name)).sort();
    const across = axes.filter((name) => name[0] === "x");
    const panels = across.map((name) => ({ x: layout[name], y: layout[name.replace("x", "y")] }));
    const whole = ({ x, y }, i) => x.domain && y && !y.domain && (!i || panels[i - 1].x.domain[1] <= x.domain[0]);
    if (axes.length !== 2 * panels.length || !panels.every(whole)) return [];
    return panels.map(({ x, y }) => {
      const middle = (x.domain[0] + x.domain[1]) / 2;
      const isTitle = (a) => a.yref === "paper" && a.y === 1 && a.text && Math.abs(a.x - middle) < 0.02;
      return { x, y, title: (layout.annotations ?? []).find(isTitle) };
    });
  }
  function wrapped(text, most) {
    if (text.split("<br>").every((line) => line.length <= most) || /<(?!br>)/.test(text)) return text;
    return text.split(/ |<br>/).reduce((lines, word) => {
      const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
      return longer.length > most && lines.at(-1) ? [...lines, word] : [...lines.slice(0, -1), longer];
    }, [""]).join("<br>");
  }
  // A layout as wide as there is room: on a phone with smaller letters, and the panels of a row one below the other.
  function fitted({ data, layout }, room) {
    const width = Math.min(layout.width ?? 700, room), narrow = room < 600;
    const size = (layout.font?.size ?? 12) * (narrow ? 0.85 : 1), margin = { l: 80, r: 80, t: 100, b: 80, ...layout.margin };
    const panels = row(layout), stacked = narrow && panels.length > 1;
    Object.assign(layout, { width, margin, font: { ...layout.font, size } });
    for (const part of narrow ? data : []) if (part.textfont?.size) part.textfont.size *= 0.85;
    const free = width - margin.l - margin.r, line = 1.4 * size;
    let lines = 1;
    for (const { x, title } of panels.filter((p) => p.title)) {
      const share = stacked ? 1 : x.domain[1] - x.domain[0];
      title.text = wrapped(title.text, Math.floor(share * free / (0.55 * size)));
      lines = Math.max(lines, title.text.split("<br>").length);
    }
    const more = Math.max(0, lines * line + 8 - margin.t), inner = layout.height - margin.t - margin.b;
    margin.t += more;
    layout.height += more;
    if (stacked) stack(layout, panels, inner, lines * line + 50);
  }
  function stack(layout, panels, inner, gap) {
    const each = 0.8 * inner, total = panels.length * (each + gap) - gap;
    panels.forEach(({ x, y, title }, i) => {
      const top = 1 - i * (each + gap) / total;
      Object.assign(x, { domain: [0, 1], ...x.title && { title: { ...x.title, standoff: 4 } } });
      Object.assign(y, { domain: [Math.max(0, top - each / total), top] });
      if (title) Object.assign(title, { x: 0.5, y: top, xanchor: "center" });
    });
    layout.height += total - inner;
    // what stands above or below all panels stays as near to them as it was
    for (const part of [layout.legend, layout.coloraxis?.colorbar])
      if (part?.y < 0 || part?.y > 1) part.y = (part.y > 1) + (part.y - (part.y > 1)) * inner / total;
  }
  function put(made, path, value) {
    path.slice(0, -1).reduce((part, key) => part[key], made)[path.at(-1)] = structuredClone(value);  // is changed below
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
    fitted(made, plot.clientWidth);
    drawn = look();
    const { data, layout } = dark() ? darkened(made) : made;
    Plotly.react(plot, data, layout, { displayModeBar: false });
  }
  // Drawn anew where the page has got another theme or another width.
  let drawn = "";
  const look = () => `${dark()} ${plot.clientWidth}`, again = () => { if (look() !== drawn) draw(); };
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
  new MutationObserver(again).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  new ResizeObserver(again).observe(plot);
})();
