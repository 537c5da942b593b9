/** A small plot of a vector: one line over its bands. */

const [WIDTH, HEIGHT, MARGIN] = [320, 90, 4];
const SVG = "http://www.w3.org/2000/svg";

function node(name: string, attributes: Record<string, string>): SVGElement {
  const found = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  return found;
}

export function vectorPlot(vector: Float32Array): SVGElement {
  const values = [...vector].filter(Number.isFinite);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const x = (band: number) => MARGIN + (band / Math.max(1, vector.length - 1)) * (WIDTH - 2 * MARGIN);
  const y = (value: number) =>
    HEIGHT - MARGIN - ((value - low) / (high - low || 1)) * (HEIGHT - 2 * MARGIN);
  const label = `${vector.length} bands, from ${low.toPrecision(3)} to ${high.toPrecision(3)}`;
  const plot = node("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    "aria-label": `The vector: ${label}`,
  });
  const path = Array.from(vector, (value, band) =>
    Number.isFinite(value) ? `${x(band).toFixed(1)},${y(value).toFixed(1)}` : "",
  );
  plot.append(
    node("line", {
      x1: `${MARGIN}`,
      x2: `${WIDTH - MARGIN}`,
      y1: y(0).toFixed(1),
      y2: y(0).toFixed(1),
      class: "axis",
    }),
    node("polyline", { points: path.filter(Boolean).join(" "), class: "line" }),
  );
  return plot;
}
