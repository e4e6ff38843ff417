"use strict";
/* Controls around a k3d plot: parts, planes, field, cameras, time. Called by k3d's page once the plot is there. */
function turgorScene(k3d, settings) {
  const world = k3d.getWorld();
  const shown = { place: 0 };

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function show(id, visible) {
    const object = world.ObjectsListJson[id];
    if (!object || object.visible === visible) return Promise.resolve();
    object.visible = visible;
    return k3d.reload(object, { visible: visible });
  }

  /* Planes glow in the colors of the bar, whatever the light: shading would be read as a value. */
  function unlit() {
    settings.fields.forEach(field => Object.values(field.ids).forEach(id => {
      const material = (world.ObjectsById[id] || {}).material;
      if (!material || !material.map || material.emissiveMap === material.map) return;
      material.emissiveMap = material.map;
      material.emissive.set(0xffffff);
      material.color.set(0x000000);
      material.needsUpdate = true;
    }));
    k3d.render();
  }

  function number(value) {
    return Number(value.toPrecision(3)).toString().replace("-", "\u2212");
  }

  function paintPlanes() {
    Promise.all(settings.fields.flatMap(field => settings.planes.map(plane =>
      show(field.ids[plane.name], field.on && plane.on)))).then(unlit);
    const field = settings.fields.find(entry => entry.on);
    bar.hidden = !field || !settings.planes.some(plane => plane.on);
    if (!field) return;
    bar.replaceChildren(
      make("div", { textContent: `${field.label} [${field.unit}]` }),
      make("div", { className: "strip", style: `background:linear-gradient(90deg,${field.gradient.join(",")})` }),
      make("div", { className: "ends" }, ...[field.low, (field.low + field.high) / 2, field.high].map(value =>
        make("span", { textContent: number(value) }))));
    time.hidden = settings.times.length < 2 || !field.by_time;
  }

  function tick(type, name, entry, label, color, change) {
    const box = make("input", { type: type, name: name, checked: entry.on });
    box.addEventListener("change", () => change(box.checked));
    const mark = color ? [make("span", { className: "swatch", style: `background:${color}` })] : [];
    return make("label", {}, box, ...mark, make("span", { textContent: label }));
  }

  /* Cameras are made for a wide frame; a narrow one needs more distance. */
  function look(name) {
    const [x, y, z, a, b, c, ...up] = settings.views[name];
    const back = Math.max(1, 1.3 * innerHeight / innerWidth);
    k3d.setCamera([a + (x - a) * back, b + (y - b) * back, c + (z - c) * back, a, b, c, ...up]);
  }

  function goTo(place) {
    shown.place = Number(place);
    slider.value = String(place);
    stamp.textContent = `t = ${settings.times[shown.place]}`;
    return Promise.resolve(k3d.setTime(shown.place)).then(unlit);
  }

  function play() {
    if (shown.timer) {
      clearInterval(shown.timer);
      shown.timer = null;
      button.textContent = "\u25B6 play";
      return;
    }
    button.textContent = "\u275A\u275A pause";
    shown.timer = setInterval(() => goTo((shown.place + 1) % settings.times.length), 700);
  }

  const bar = make("div", { id: "turgor-bar" });
  const slider = make("input", { type: "range", min: 0, max: settings.times.length - 1, step: 1, ariaLabel: "time" });
  const stamp = make("output", {});
  const button = make("button", { type: "button", textContent: "\u25B6 play" });
  const time = make("div", { id: "turgor-time" }, button, slider, stamp);
  button.addEventListener("click", play);
  slider.addEventListener("input", () => goTo(slider.value));

  const glass = make("input", { type: "range", min: 0, max: 100, value: 50, title: "opacity of surfaces", ariaLabel: "opacity of surfaces" });
  glass.addEventListener("input", () => settings.parts.forEach(part => {
    part.ids.forEach(id => {
      const object = world.ObjectsListJson[id];
      object.opacity = glass.value >= 100 ? 1 : Math.min(1, part.opacity * glass.value / 50);
      if (object.visible) k3d.reload(object, { opacity: object.opacity });
    });
  }));

  const panel = make("details", { id: "turgor-panel", open: innerWidth > 640 },
    make("summary", { textContent: "Show" }),
    make("h4", { textContent: "Surfaces" }),
    ...settings.parts.map(part => tick("checkbox", "", part, part.name, part.color, on => part.ids.forEach(id => show(id, on)))),
    glass,
    make("h4", { textContent: "Planes" }),
    ...settings.planes.map(plane => tick("checkbox", "", plane, `${plane.name}, ${plane.at}`, "",
      on => { plane.on = on; paintPlanes(); })),
    make("h4", { textContent: "Field on planes" }),
    ...settings.fields.map(field => tick("radio", "field", field, field.label, "",
      () => { settings.fields.forEach(other => { other.on = other === field; }); paintPlanes(); })),
    make("h4", { textContent: "View from" }),
    make("div", { id: "turgor-views" }, ...Object.keys(settings.views).map(name => {
      const view = make("button", { type: "button", textContent: name });
      view.addEventListener("click", () => look(name));
      return view;
    })));
  if (!settings.fields.length) bar.hidden = true;

  document.body.append(panel, bar, time);
  paintPlanes();
  look("oblique");
  goTo(settings.start);
  if (parent !== window) parent.postMessage({ turgor: "scene ready" }, "*");
}
