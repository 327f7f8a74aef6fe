import ArgumentParser
import ControlProtocol

struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "What the daemon is and what runs in it.",
    discussion: """
      EXAMPLES
        sluice status
        sluice status --socket /run/sluice/sluiced.sock --json
      """)
  @OptionGroup var options: TargetOptions

  func run() async throws {
    let output = options.output
    try await options.run { api in
      let status = try await api.call(.get, APIClient.path("nodes", options.node, "status"))["data"]
      output.write(status, Self.text(status))
    } daemon: { daemon in
      let status = try await daemon.status().json
      output.write(status, Self.text(status))
    }
  }

  static func text(_ status: JSON) -> String {
    var lines = [
      "sluiced \(status["version"].cell) on Linux \(status["kernel"].cell), since \(status["started_at"].cell)",
      "state \(status["state_directory"].cell)  bpffs \(status["bpffs"].cell)  "
        + "captures running: \(status["running_captures"].cell)",
    ].map(Terminal.safe)
    let missing = status["features"].members.filter { $0.value.string != "yes" }.sorted { $0.key < $1.key }
    lines += missing.map { Terminal.safe("without \($0.key): \($0.value.cell)") }
    var table = Table("INTERFACE", "MODE", "RULE SET", ">REVISION", ">GENERATION", ">QUEUES", "ZERO-COPY", "NOTE")
    for attachment in status["attachments"].elements {
      let queues = attachment["queues"].elements
      let zeroCopy = queues.count { $0["zero_copy"].bool == true }
      let ends = attachment["next_expiry"].string.map {
        "\(attachment["expiring_rules"].cell) of its rules will end, the next at \($0)"
      }
      let ended = attachment["expired_rules"].integer.flatMap { $0 == 0 ? nil : "\($0) of its rules have ended" }
      let notes = [attachment["fallback_reason"].cell] + attachment["warnings"].elements.map(\.cell)
        + [ends, ended].compactMap(\.self)
      table.add(
        attachment["interface"].cell, attachment["mode"].cell, attachment["rule_set"].cell,
        attachment["revision"].cell, attachment["generation"].cell, "\(queues.count)",
        queues.isEmpty ? "" : "\(zeroCopy)/\(queues.count)", notes.filter { !$0.isEmpty }.joined(separator: "; "))
    }
    return (lines + [table.isEmpty ? "no interface is attached" : table.text]).joined(separator: "\n")
  }
}

struct Interfaces: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "The interfaces of the node, attached or not.")
  @OptionGroup var options: TargetOptions

  func run() async throws {
    let output = options.output
    try await options.run { api in
      let interfaces = try await api.list(APIClient.path("nodes", options.node, "interfaces"))
      output.write(.array(interfaces), Self.text(interfaces))
    } daemon: { daemon in
      let interfaces = try await daemon.interfaces().map(\.json)
      output.write(.array(interfaces), Self.text(interfaces))
    }
  }

  static func text(_ interfaces: [JSON]) -> String {
    var table = Table(
      "INTERFACE", "STATE", ">MTU", ">QUEUES", "DRIVER", ">NUMA", "MAC", "ATTACHED", "RULE SET", "OTHER XDP")
    for interface in interfaces {
      let state = interface["up"].bool != true ? "down" : interface["carrier"].bool == true ? "up" : "no carrier"
      let foreign = interface["foreign_program_id"].integer ?? 0
      let node = interface["numa_node"].integer ?? -1
      table.add(
        interface["name"].cell, state, interface["mtu"].cell, interface["rx_queues"].cell, interface["driver"].cell,
        node < 0 ? "" : "\(node)", interface["mac"].cell, interface["attachment"]["mode"].cell,
        interface["attachment"]["rule_set"].cell, foreign == 0 ? "" : "program \(foreign)")
    }
    return table.text
  }
}

/// A word of a few.
protocol Word: RawRepresentable, ExpressibleByArgument, CaseIterable, Sendable where RawValue == String {}
enum ModeWord: String, Word { case auto, native, generic }
enum ZeroCopyWord: String, Word { case auto, required, off }
enum CoexistenceWord: String, Word { case auto, exclusive, dispatcher }
enum FateWord: String, Word { case pass, drop }

struct Attach: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Attach to an interface: from then on its packets are decided about.",
    discussion: """
      Through the API, attaching again changes the rule set. Other options stay as they are while rules decide: detach, and
      attach anew with them.

      EXAMPLES
        sluice attach eth0 --rule-set edge
        sluice attach eth0 --mode native --zero-copy required --keep-on-exit
        sluice attach eth0 --socket /run/sluice/sluiced.sock
      """)

  @Argument(help: "The interface.")
  var interface: String
  @Option(help: "Apply this rule set at once. Through the API only.")
  var ruleSet: String?
  @Option(help: "auto: native, or generic with a warning where the driver has no XDP. (auto, native, generic)")
  var mode: ModeWord?
  @Option(help: "Zero-copy of captured packets. (auto, required, off)")
  var zeroCopy: ZeroCopyWord?
  @Option(
    help: """
      With other XDP programs: join a libxdp dispatcher that is there, attach alone, or make one. \
      (auto, exclusive, dispatcher)
      """)
  var coexistence: CoexistenceWord?
  @Option(help: "What becomes of packets that a capture rule catches while no capture runs. (pass, drop)")
  var captureFallback: FateWord?
  @Flag(inversion: .prefixedNo, help: "Stay attached, deciding by the last rules, when the daemon stops.")
  var keepOnExit: Bool?
  @Flag(help: "Even if the rule set would drop the connection that you come in by.")
  var force = false
  @OptionGroup var options: TargetOptions

  func run() async throws {
    let output = options.output
    try await options.run { api in
      let attachment = try await attach(api)
      guard attachment["observed"] != .null else {
        throw CommandError(
          .unavailable, "node_unavailable",
          "whether \(interface) is attached is not known: \(attachment["observed_error"].string ?? "the daemon does not tell of it")")
      }
      output.write(attachment, Self.text(attachment["observed"]))
    } daemon: { daemon in
      if ruleSet != nil {
        throw CommandError.usage("rule sets are kept by the API: without it, use `sluice apply --file` after attaching")
      }
      let attachment = try await daemon.attach(interface, options: message).json
      output.write(attachment, Self.text(attachment))
    }
  }

  private func attach(_ api: APIClient) async throws -> JSON {
    if let existing = try await api.attachments(node: options.node, interface: interface).first {
      return try await api.call(.patch, APIClient.path("attachments", existing["id"].cell), body: fields)["data"]
    }
    var body = fields.members
    body["node"] = .string(options.node)
    body["interface"] = .string(interface)
    return try await api.call(.post, "/attachments", body: .object(body))["data"]
  }

  /// What was named on the command line.
  var fields: JSON {
    var fields: [String: JSON] = [:]
    if let ruleSet { fields["rule_set"] = .string(ruleSet) }
    if let mode { fields["mode"] = .string(mode.rawValue) }
    if let zeroCopy { fields["zero_copy"] = .string(zeroCopy.rawValue) }
    if let coexistence { fields["coexistence"] = .string(coexistence.rawValue) }
    if let captureFallback { fields["capture_fallback"] = .string(captureFallback.rawValue) }
    if let keepOnExit { fields["keep_on_exit"] = .bool(keepOnExit) }
    if force { fields["force"] = true }
    return .object(fields)
  }

  private var message: Sluice_Control_V1_AttachOptions {
    Sluice_Control_V1_AttachOptions(
      mode: mode?.rawValue ?? "auto", zeroCopy: zeroCopy?.rawValue ?? "auto",
      coexistence: coexistence?.rawValue ?? "auto", captureFallback: captureFallback == .drop ? .drop : .pass,
      keepOnExit: keepOnExit ?? false)
  }

  static func text(_ attachment: JSON) -> String {
    var lines = ["attached to \(attachment["interface"].cell), mode \(attachment["mode"].cell)"]
    if let set = attachment["rule_set"].string {
      lines[0] += ", rule set \(set) revision \(attachment["revision"].cell)"
    }
    if let reason = attachment["fallback_reason"].string, !reason.isEmpty {
      lines.append("warning: not native: \(reason)")
    }
    lines += attachment["warnings"].elements.map { "warning: \($0.cell)" }
    return lines.map(Terminal.safe).joined(separator: "\n")
  }
}

struct Detach: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Detach from an interface: from then on the kernel's stack sees everything.")

  @Argument(help: "The interface.")
  var interface: String
  @OptionGroup var options: TargetOptions

  func run() async throws {
    let output = options.output
    try await options.run { api in
      guard let existing = try await api.attachments(node: options.node, interface: interface).first else {
        throw CommandError(
          .notFound, "not_found",
          "\(interface) has no attachment at the API; one made over the socket is detached with --socket")
      }
      _ = try await api.call(.delete, APIClient.path("attachments", existing["id"].cell))
    } daemon: { daemon in
      try await daemon.detach(interface)
    }
    output.write(["interface": .string(interface), "detached": true], "detached from \(Terminal.safe(interface))")
  }
}

extension APIClient {
  func attachments(node: String, interface: String) async throws -> [JSON] {
    try await list("/attachments", query: [("node", node), ("interface", interface)])
  }
}
