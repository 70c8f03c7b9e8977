// Tempo's answers as spans. Pure.
import { textOf } from "./format.js";

/** Spans of a trace, old form (batches, base64 ids) or new (resourceSpans, hex): times are BigInt nanoseconds. */
export function spansOf(found) {
  const trace = found.trace ?? found,
    spans = [];
  for (const batch of trace.resourceSpans ?? trace.batches ?? []) {
    const resource = attributesOf(batch.resource?.attributes);
    for (const scope of batch.scopeSpans ?? batch.instrumentationLibrarySpans ?? batch.ilSpans ?? []) {
      for (const span of scope.spans ?? []) spans.push(spanOf(span, resource, textOf((scope.scope ?? scope.instrumentationLibrary)?.name)));
    }
  }
  return spans;
}

function spanOf(span, resource, scope) {
  const start = nano(span.startTimeUnixNano),
    end = nano(span.endTimeUnixNano);
  return {
    id: hexOf(span.spanId),
    parent: hexOf(span.parentSpanId),
    name: textOf(span.name),
    start,
    end: end < start ? start : end,
    resource,
    scope,
    service: textOf(resource["service.name"]) || "unknown",
    kind: textOf(span.kind).replace("SPAN_KIND_", "").toLowerCase(),
    failed: span.status?.code === 2 || span.status?.code === "STATUS_CODE_ERROR",
    message: textOf(span.status?.message),
    attributes: attributesOf(span.attributes),
    events: (span.events ?? []).map((event) => ({ at: nano(event.timeUnixNano), name: textOf(event.name), attributes: attributesOf(event.attributes) })),
    links: (span.links ?? []).map((link) => ({ trace: hexOf(link.traceId), span: hexOf(link.spanId), attributes: attributesOf(link.attributes) })),
  };
}

function nano(value) {
  try {
    return BigInt(value ?? 0);
  } catch {
    return 0n;
  }
}

function hexOf(id) {
  if (typeof id !== "string" || !id) return "";
  if (/^([0-9a-f]{16}|[0-9a-f]{32})$/i.test(id)) return id.toLowerCase();
  try {
    return [...atob(id)].map((byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  } catch {
    return "";
  }
}

const attributesOf = (list) => Object.fromEntries((Array.isArray(list) ? list : []).map(({ key, value }) => [textOf(key), valueOf(value)]));

function valueOf(value) {
  if (value?.arrayValue) return JSON.stringify((value.arrayValue.values ?? []).map(valueOf));
  if (value?.kvlistValue) return JSON.stringify(attributesOf(value.kvlistValue.values));
  return textOf(Object.values(value ?? {})[0]);
}

/** [{span, depth, below: number of spans under it}], depth first by start; spans whose parent isn't there, or that are each other's parents, stand as roots. */
export function ordered(spans) {
  const byStart = (a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0),
    ids = new Set(spans.map((span) => span.id)),
    children = new Map(),
    rows = [],
    taken = new Set();
  const isRoot = (span) => !ids.has(span.parent) || span.parent === span.id;
  for (const span of spans) {
    if (isRoot(span)) continue;
    if (!children.has(span.parent)) children.set(span.parent, []);
    children.get(span.parent).push(span);
  }
  for (const list of children.values()) list.sort(byStart).reverse();
  const walk = (root) => {
    const stack = [[root, 0]];
    while (stack.length) {
      const [span, depth] = stack.pop();
      if (taken.has(span)) continue;
      taken.add(span);
      rows.push({ span, depth, below: 0 });
      for (const child of children.get(span.id) ?? []) stack.push([child, depth + 1]);
    }
  };
  spans.filter(isRoot).sort(byStart).forEach(walk);
  spans.forEach(walk);
  const open = []; // the rows above the one that is looked at, outermost first; what is below one stands between it and the row that closes it
  const close = (depth, end) => {
    while (open.length && rows[open.at(-1)].depth >= depth) {
      const index = open.pop();
      rows[index].below = end - index - 1;
    }
  };
  rows.forEach((row, index) => (close(row.depth, index), open.push(index)));
  close(0, rows.length);
  return rows;
}
