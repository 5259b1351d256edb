/** Mouse, pen, touch and wheel events on a canvas, translated to move, zoom, window and point. */

const WHEEL_SPEED = 0.0015;
const TAP_DISTANCE = 5;

/**
 * Handle all gestures on a canvas. Distances and positions are in CSS pixels, from its top left corner.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {object} handlers `move(dx, dy, x, y)`; `zoom(factor, x, y)` around a position; `window(dx, dy, x, y)` on a right
 *   drag, or any drag while `windows()`; `point(x, y)` at the pointer or a tap; `tap(x, y)`, optional; `leave()`;
 *   `wheels()`: whether the wheel zooms, else it scrolls the page.
 */
export function followGestures(canvas, handlers) {
  const pointers = new Map();
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => turnWheel(event, handlers), { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button === 1) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { ...getPosition(event), start: getPosition(event), right: event.button === 2 });
  });
  canvas.addEventListener("pointermove", (event) => movePointer(event, pointers, handlers));
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      const pointer = pointers.get(event.pointerId);
      pointers.delete(event.pointerId);
      if (end === "pointercancel" || !pointer) return;
      const { x, y, start } = pointer;
      if (Math.hypot(x - start.x, y - start.y) >= TAP_DISTANCE) return;
      handlers.point(x, y);
      handlers.tap?.(x, y);
    });
  }
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && handlers.leave());
}

function turnWheel(event, handlers) {
  if (!handlers.wheels() && !event.ctrlKey) return;
  event.preventDefault();
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
  const turned = Math.max(-300, Math.min(300, event.deltaY * lines));
  const { x, y } = getPosition(event);
  // Browsers report a pinch on a touch pad as a fine wheel with the control key.
  handlers.zoom(Math.exp(-turned * WHEEL_SPEED * (event.ctrlKey ? 5 : 1)), x, y);
}

function movePointer(event, pointers, handlers) {
  const pointer = pointers.get(event.pointerId);
  const { x, y } = getPosition(event);
  if (!pointer) {
    handlers.point(x, y);
    return;
  }
  const [dx, dy] = [x - pointer.x, y - pointer.y];
  if (pointers.size === 2) {
    const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
    const before = Math.hypot(pointer.x - other.x, pointer.y - other.y);
    const after = Math.hypot(x - other.x, y - other.y);
    const [midX, midY] = [(x + other.x) / 2, (y + other.y) / 2];
    handlers.move(dx / 2, dy / 2, midX, midY);
    if (before > 0 && after > 0) handlers.zoom(after / before, midX, midY);
  } else if (pointers.size === 1) {
    handlers[pointer.right || handlers.windows() ? "window" : "move"](dx, dy, x, y);
  }
  Object.assign(pointer, { x, y });
}

function getPosition(event) {
  const box = event.currentTarget.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}
