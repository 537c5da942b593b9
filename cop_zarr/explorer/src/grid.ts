/** Cells of the product's lattice: 721 x 1440 of 0.25°, cyclic, centred at 90 - 0.25 i, -180 + 0.25 j. */

export const STEP_DEG = 0.25;
export const LATTICE_ROWS = 721;
export const LATTICE_COLS = 1440;
export const LATTICE_WEST = -180.125;
export const LATTICE_NORTH = 90.125;

/** A rectangle of the lattice; columns may run on past its last one. */
export interface Grid {
  readonly rows: number;
  readonly cols: number;
  readonly rowOffset: number;
  readonly colOffset: number;
}

/** The grid whose north-west outer corner is at `west`, `north`; undefined if it is not on the lattice. */
export function gridFromCorner(west: number, north: number, rows: number, cols: number): Grid | undefined {
  const [row, col] = [(LATTICE_NORTH - north) / STEP_DEG, (west - LATTICE_WEST) / STEP_DEG];
  const onLattice = Number.isInteger(row) && Number.isInteger(col) && Math.abs(west) <= 540;
  const fits = row >= 0 && rows > 0 && row + rows <= LATTICE_ROWS && cols > 0 && cols <= LATTICE_COLS;
  if (!onLattice || !fits) return undefined;
  return { rows, cols, rowOffset: row, colOffset: modulo(col, LATTICE_COLS) };
}

export function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}

/** Longitude within -180 … 180 (180 itself left out). */
export function normalLon(lon: number): number {
  return modulo(lon + 180, 360) - 180;
}

/** West edge, south, east, north in degrees; up to 0.125° past a pole. */
export function gridBounds(grid: Grid): [number, number, number, number] {
  const west = LATTICE_WEST + STEP_DEG * grid.colOffset;
  const north = LATTICE_NORTH - STEP_DEG * grid.rowOffset;
  return [west, north - STEP_DEG * grid.rows, west + STEP_DEG * grid.cols, north];
}

/** The cell (row x cols + col) in which a point lies; -1 outside the grid. */
export function cellAt(grid: Grid, lon: number, lat: number): number {
  const row = Math.floor((LATTICE_NORTH - lat) / STEP_DEG) - grid.rowOffset;
  const col = modulo(Math.floor((lon - LATTICE_WEST) / STEP_DEG) - grid.colOffset, LATTICE_COLS);
  const inside = Math.abs(lat) <= 90 && row >= 0 && row < grid.rows && col < grid.cols;
  return inside ? row * grid.cols + col : -1;
}

export function rowLat(grid: Grid, row: number): number {
  return 90 - STEP_DEG * (grid.rowOffset + row);
}

/** Centre of a cell: longitude within -180 … 179.75, latitude. */
export function cellCentre(grid: Grid, cell: number): [number, number] {
  const [row, col] = [Math.floor(cell / grid.cols), cell % grid.cols];
  return [normalLon(-180 + STEP_DEG * (grid.colOffset + col)), rowLat(grid, row)];
}
