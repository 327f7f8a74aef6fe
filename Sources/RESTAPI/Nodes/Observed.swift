import ControlProtocol
import Foundation

// The shapes of what the daemon reports; ControlProtocol makes the JSON.

extension Sluice_Control_V1_Attachment {
  static let schema = Schema.named(
    "ObservedAttachment",
    .object([
      .required("interface", .string()), .required("options", Sluice_Control_V1_AttachOptions.schema),
      .required("mode", .words(Sluice_Control_V1_AttachMode.words)), .required("fallback_reason", .string()),
      .required("dispatcher", .boolean), .required("program_id", .count), .required("generation", .count),
      .required("rule_set", .nullable(.string())), .required("revision", .count),
      .required("queues", .array(Sluice_Control_V1_QueueState.schema, max: Int.max)),
      .required("warnings", .array(.string(), max: Int.max)), .required("attached_at", .nullable(.timestamp)),
      .required("confirm_by", .nullable(.timestamp), "Until when the rule set must be confirmed; null: it stands"),
      .required("previous_rule_set", .nullable(.string()), "What comes back otherwise"),
      .required("previous_revision", .count),
      .required("expiring_rules", .count, "Rules of it that will end"),
      .required("next_expiry", .nullable(.timestamp), "When the next of them, or of the elements of its sets, does"),
      .required("expired_rules", .count, "Rules of it that have ended and decide nothing any more"),
      .required("expiring_elements", .count, "Elements of its sets that will end"),
      .required("expired_elements", .count, "Elements of its sets that have ended and are no longer in them"),
    ]))
}

extension Sluice_Control_V1_AttachOptions {
  static let schema = Schema.object([
    .required("mode", .words(Sluice_Control_V1_AttachMode.words)),
    .required("zero_copy", .words(Sluice_Control_V1_ZeroCopy.words)),
    .required("coexistence", .words(Sluice_Control_V1_Coexistence.words)),
    .required("capture_fallback", .words(["pass", "drop"])), .required("keep_on_exit", .boolean),
    .required("worker", .object(WireShapes.workerFields.map { Field.required($0.name, $0.schema) })),
  ])
}

extension Sluice_Control_V1_QueueState {
  static let schema = Schema.named(
    "QueueState",
    .object([
      .required("queue", .count), .required("zero_copy", .boolean), .required("cpu", .integer(-1...Int64.max)),
      .required("numa_node", .integer(-1...Int64.max)), .required("huge_pages", .boolean),
      .required("frames_total", .count), .required("frames_pool", .count), .required("frames_fill", .count),
      .required("frames_in_flight", .count), .required("frames_lent", .count), .required("received_packets", .count),
      .required("received_bytes", .count), .required("rx_dropped", .count), .required("rx_invalid_descs", .count),
      .required("rx_ring_full", .count), .required("rx_fill_ring_empty_descs", .count),
    ]))
}

extension Sluice_Control_V1_Interface {
  static let schema = Schema.named(
    "Interface",
    .object([
      .required("name", .string()), .required("index", .count), .required("mac", .string()),
      .required("mtu", .count), .required("up", .boolean), .required("carrier", .boolean),
      .required("rx_queues", .count), .required("driver", .string()),
      .required("numa_node", .integer(-1...Int64.max)), .required("foreign_program_id", .count),
      .required("attachment", .nullable(Sluice_Control_V1_Attachment.schema)),
    ]))
}

extension Sluice_Control_V1_InterfaceCounters {
  private static let counter = Schema.named(
    "Counter", .object([.required("packets", .count), .required("bytes", .count)]))

  static let schema = Schema.named(
    "InterfaceCounters",
    .object([
      .required("interface", .string()), .required("rule_set", .nullable(.string())), .required("revision", .count),
      .required("generation", .count),
      .required(
        "rules",
        .array(
          .object([
            .required("rule", .string(), "\"default\" for the default action"), .required("action", .string()),
            .required("packets", .count), .required("bytes", .count),
          ]), max: Int.max)),
      .required("actions", .map(counter, keys: nil), "Every packet is in exactly one"),
      .required("events", .map(counter, keys: nil)), .required("malformed", .map(counter, keys: nil), "By reason"),
    ]))
}

extension Sluice_Control_V1_GetStatusResponse {
  static let schema = Schema.named(
    "NodeStatus",
    .object([
      .required("version", .string()), .required("started_at", .nullable(.timestamp)),
      .required("kernel", .string()), .required("state_directory", .string()), .required("bpffs", .string()),
      .required("attachments", .array(Sluice_Control_V1_Attachment.schema, max: Int.max)),
      .required("wires", .array(Sluice_Control_V1_Wire.schema, max: Int.max)),
      .required("running_captures", .count), .required("limits", .map(.count, keys: nil)),
      .required("features", .map(.string(), keys: nil)),
    ]))
}

extension JSONValue {
  static func time(_ date: Date) -> JSONValue { .string(Envelope.timestamp(date)) }
  static func time(_ date: Date?) -> JSONValue { date.map(JSONValue.time) ?? .null }
}
