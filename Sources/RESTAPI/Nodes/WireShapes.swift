import ControlProtocol
import Rules

/// The shapes of wires and flows.
enum WireShapes {
  static let workerFields: [Field] = [
    .optional(
      "wait", .words(Sluice_Control_V1_WaitMode.words), default: "default",
      "While there are no packets: spin takes a whole CPU, adaptive none when idle"),
    .optional("batch", .integer(0...1024), default: 0, "Packets taken at a time, 32 to 1024; 0: the daemon's setting"),
    .optional(
      "ring_entries", .integer(0...65_536), default: 0, "A power of two, 256 to 65536; 0: the daemon's setting"),
  ]

  private static let flows = Schema.named(
    "FlowAccounting",
    .object([
      .optional("collector", .nullable(.text(max: 64)), "IPFIX over UDP to 192.0.2.7:4739; null: nowhere"),
      .optional("active_timeout_ms", .integer(0...3_600_000), default: 0, "0: 60 s"),
      .optional("idle_timeout_ms", .integer(0...3_600_000), default: 0, "0: 15 s"),
      .optional("sample_every", .integer(0...Int64(UInt32.max)), default: 0, "Look at one of so many; 0 and 1: all"),
      .optional("flows_max", .integer(0...4_194_304), default: 0, "At one time, by each packet thread; 0: 65536"),
    ]))

  private static let endFields: [Field] = [
    .required("name", Shapes.name), .required("a", Shapes.interface),
    .required("b", Shapes.interface, "The same as a: a reflector"),
    .optional(
      "path", .words(Sluice_Control_V1_WirePath.words), default: "auto",
      "auto: the kernel's, unless something needs the packets in user space"),
  ]
  private static let stageFields: [Field] = [
    .optional(
      "live_frames", .words(Sluice_Control_V1_LiveFrames.words), default: "auto", "How packets of the user path leave"),
    .optional("flows", .nullable(flows), "null: flows are not accounted for"),
    .optional("mirror", .nullable(Shapes.interface), "An interface that gets copies"),
    .optional("mirror_sample_every", .integer(0...Int64(UInt32.max)), default: 0, "Copy one of so many; 0 and 1: all"),
  ]
  private static let options: [Field] = endFields + workerFields + stageFields

  static let newWire = Schema.named("NewWire", .object(options))

  private static let counts = Schema.map(.count, keys: nil)

  private static let side = Schema.named(
    "WireSide",
    .object([
      .required("interface", .string()),
      .required(
        "received", .map(.object([.required("packets", .count), .required("bytes", .count)]), keys: nil),
        "By who got the packets that came in here: kernel, user"),
      .required("forwarded", counts, "Packets by the way they left: kernel, live, af_xdp"),
      .required("dropped", counts, "By reason"), .required("not_live", counts, "Packets of af_xdp, by why no live frames"),
      .required("captured", .count), .required("mirrored", .count), .required("mirror_dropped", .count),
      .required("transmits_redirected", .boolean),
    ]))

  private static let queue = Schema.named(
    "WireQueue",
    .object([
      .required("queue", .count), .required("cpu", .integer(-1...Int64.max)), .required("zero_copy", .boolean),
      .required("copy_reason", .string()), .required("live_frames", .boolean), .required("live_reason", .string()),
      .required("frames_total", .count), .required("frames_pool", .count),
      .required("batches", .array(.count, max: Int.max), "Element i: batches of 2^i to 2^(i+1)-1 packets"),
      .required("busy_seconds", .number), .required("idle_seconds", .number), .required("asleep_seconds", .number),
    ]))

  private static let flowState = Schema.named(
    "FlowState",
    .object(
      [
        "packets", "not_ip", "malformed", "active", "capacity", "closed", "evicted", "lost", "exported_records",
        "unsent_records", "messages", "lost_packets",
      ].map { Field.required($0, .count) } + [.required("export_errors", counts, "By reason; none: nothing is exported")]))

  private static let observedFields: [Field] = [
    .required("current_path", .words(["kernel", "user", "none"]), "none: a side is missing"),
    .required("reason", .string(), "Why that path"), .required("fallback_reason", .string()),
    .required("sides", .array(side, max: 2)), .required("queues", .array(queue, max: Int.max)),
    .required("flow_state", .nullable(flowState)), .required("warnings", .array(.string(), max: Int.max)),
    .required("created_at", .nullable(.timestamp)),
  ]

  static let wire = Schema.named(
    "Wire", .object(options.map { Field.required($0.name, $0.schema) } + observedFields))

  static let topFlows = Schema.named(
    "TopFlows",
    .object([
      .required(
        "flows",
        .array(
          .named(
            "Flow",
            .object([
              .required("source", .string()), .required("destination", .string()), .required("protocol", .string()),
              .required("source_port", .count), .required("destination_port", .count), .required("vlan", .count),
              .required("interface", .string()), .required("packets", .count), .required("bytes", .count),
              .required("packets_per_second", .number), .required("bytes_per_second", .number),
              .required("tcp_flags", .count), .required("first_at", .nullable(.timestamp)),
              .required("last_at", .nullable(.timestamp)),
              .required("icmp_type", .nullable(.count), "Of ICMP and ICMPv6"), .required("icmp_code", .nullable(.count)),
            ])), max: Int.max)),
      .required("flow_count", .count), .required("taken_at", .nullable(.timestamp)), .required("complete", .boolean),
    ]))
}

extension Sluice_Control_V1_Wire {
  static let schema = WireShapes.wire
}
