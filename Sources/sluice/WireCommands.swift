import ArgumentParser
import ControlProtocol
import Foundation

enum WirePathWord: String, Word { case auto, kernel, user }
enum WaitWord: String, Word { case adaptive, spin, block }
enum LiveWord: String, Word { case auto, off, required }

struct WireCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wire", abstract: "Wires: what the rules of one interface pass leaves by another.",
    discussion: """
      A wire joins two attached interfaces, both ways, so that the machine is a bump in the cable between them: rules of \
      each side decide, what they pass goes out at the other side, and nothing reaches this machine's own network stack. \
      The kernel carries the packets (path kernel) unless something needs them in user space (path user: flows, a mirror, \
      a reflector). Should the daemon die, the kernel carries them.

      EXAMPLES
        sluice attach eth0 && sluice attach eth1
        sluice wire create bump eth0 eth1
        sluice wire create watched eth0 eth1 --flows --collector 192.0.2.7:4739
        sluice wire create echo eth2 eth2
        sluice flows top watched
        sluice wire delete bump
      """,
    subcommands: [Create.self, List.self, Show.self, Delete.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Join two attached interfaces.",
      discussion: """
        Both must be attached in native mode, and be in no other wire. The same interface twice makes a reflector, which \
        sends every packet back with its addresses swapped.
        """)
    @Argument(help: "The wire's name: a-z, 0-9, '.', '_' and '-'.")
    var name: String
    @Argument(help: "One side.")
    var a: String
    @Argument(help: "The other side.")
    var b: String
    @Option(help: "auto: the kernel's, unless something needs the packets in user space. (auto, kernel, user)")
    var path: WirePathWord = .auto
    @Option(help: "Of the user path's threads while there are no packets; spin takes a whole CPU. (adaptive, spin, block)")
    var wait: WaitWord?
    @Option(help: "Packets taken at a time, at most: 32 to 1024.")
    var batch: UInt32 = 0
    @Option(help: "Entries of the rings: a power of two, 256 to 65536. More bridge longer pauses of a thread.")
    var ringEntries: UInt32 = 0
    @Option(help: "How packets of the user path leave: as live frames where that is faster, or never. (auto, off, required)")
    var liveFrames: LiveWord = .auto
    @Flag(help: "Account for flows: `sluice flows top` shows them.")
    var flows = false
    @Option(help: "Send flow records as IPFIX over UDP to this address and port. Means --flows.")
    var collector: String?
    @Option(help: "Report a flow that goes on so often: 30s, 1m.")
    var activeTimeout: String?
    @Option(help: "A flow without packets for so long is over: 10s.")
    var idleTimeout: String?
    @Option(name: .customLong("sample"), help: "Account for one packet of so many. Means --flows.")
    var sampleEvery: UInt32?
    @Option(name: .customLong("flows-max"), help: "Flows of each thread at one time. Means --flows.")
    var flowsMax: UInt32?
    @Option(help: "Send a copy of every packet to this interface.")
    var mirror: String?
    @Option(help: "Copy one packet of so many.")
    var mirrorSample: UInt32 = 0
    @OptionGroup var options: TargetOptions

    func run() async throws {
      let output = options.output
      let body = try body
      try await options.run { api in
        let wire = try await api.call(.post, APIClient.path("nodes", options.node, "wires"), body: body)["data"]
        output.write(wire, WireCommand.text(wire))
      } daemon: { daemon in
        let wire = try await daemon.createWire(.init(json: body)).json
        output.write(wire, WireCommand.text(wire))
      }
    }

    var body: JSON {
      get throws {
        var flowMembers: [String: JSON]?
        if flows || collector != nil || sampleEvery != nil || flowsMax != nil || activeTimeout != nil || idleTimeout != nil {
          flowMembers = [
            "collector": .optional(collector), "sample_every": .count(sampleEvery ?? 0), "flows_max": .count(flowsMax ?? 0),
            "active_timeout_ms": .count(try activeTimeout.map { try Quantity.milliseconds($0) } ?? 0),
            "idle_timeout_ms": .count(try idleTimeout.map { try Quantity.milliseconds($0) } ?? 0),
          ]
        }
        return [
          "name": .string(name), "a": .string(a), "b": .string(b), "path": .string(path.rawValue),
          "wait": .string(wait?.rawValue ?? "default"), "batch": .count(batch), "ring_entries": .count(ringEntries),
          "live_frames": .string(liveFrames.rawValue), "flows": flowMembers.map(JSON.object) ?? .null,
          "mirror": .optional(mirror), "mirror_sample_every": .count(mirrorSample),
        ]
      }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "All wires.")
    @OptionGroup var options: TargetOptions

    func run() async throws {
      let output = options.output
      try await options.run { api in
        let wires = try await api.list(APIClient.path("nodes", options.node, "wires"))
        output.write(.array(wires), WireCommand.table(wires))
      } daemon: { daemon in
        let wires = try await daemon.wires().map(\.json)
        output.write(.array(wires), WireCommand.table(wires))
      }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "One wire: its path and why, its counters, its threads.")
    @Argument(help: "The wire.")
    var name: String
    @OptionGroup var options: TargetOptions

    func run() async throws {
      let output = options.output
      try await options.run { api in
        let wire = try await api.call(.get, APIClient.path("nodes", options.node, "wires", name))["data"]
        output.write(wire, WireCommand.text(wire))
      } daemon: { daemon in
        guard let wire = try await daemon.wires().first(where: { $0.options.name == name })?.json else {
          throw CommandError(.notFound, "not_found", "there is no wire \(name)")
        }
        output.write(wire, WireCommand.text(wire))
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take a wire away: what the rules pass goes to this machine's network stack again.")
    @Argument(help: "The wire.")
    var name: String
    @OptionGroup var options: TargetOptions

    func run() async throws {
      let output = options.output
      try await options.run { api in
        _ = try await api.call(.delete, APIClient.path("nodes", options.node, "wires", name))
      } daemon: { daemon in
        try await daemon.deleteWire(name)
      }
      output.write(["name": .string(name), "deleted": true], "deleted wire \(Terminal.safe(name))")
    }
  }

  static func table(_ wires: [JSON]) -> String {
    var table = Table("WIRE", "A", "B", "PATH", "REASON", ">A TO B", ">B TO A", ">DROPPED")
    for wire in wires {
      let sides = wire["sides"].elements
      func sum(_ side: Int, _ member: String) -> Int64 {
        sides.indices.contains(side) ? sides[side][member].members.values.reduce(0) { $0 + ($1.integer ?? 0) } : 0
      }
      let fallback = wire["fallback_reason"].cell
      table.add(
        wire["name"].cell, wire["a"].cell, wire["b"].cell, wire["current_path"].cell,
        fallback.isEmpty ? wire["reason"].cell : "fallback: \(fallback)", "\(sum(0, "forwarded"))",
        "\(sum(1, "forwarded"))", "\(sum(0, "dropped") + sum(1, "dropped"))")
    }
    return table.isEmpty ? "there is no wire" : table.text
  }

  static func text(_ wire: JSON) -> String {
    var lines = [
      "wire \(wire["name"].cell) between \(wire["a"].cell) and \(wire["b"].cell): path \(wire["current_path"].cell), "
        + "\(wire["reason"].cell)"
    ]
    if let reason = wire["fallback_reason"].string, !reason.isEmpty {
      lines.append("warning: the user path failed, the kernel carries the packets: \(reason)")
    }
    lines += wire["warnings"].elements.map { "warning: \($0.cell)" }
    for queue in wire["queues"].elements {
      let live = queue["live_frames"].bool == true ? "live frames" : "no live frames (\(queue["live_reason"].cell))"
      let copy = queue["zero_copy"].bool == true ? "zero-copy" : "copies (\(queue["copy_reason"].cell))"
      lines.append("queue \(queue["queue"].cell) on CPU \(queue["cpu"].cell): \(copy), \(live)")
    }
    lines = lines.map(Terminal.safe)
    var table = Table("CAME IN BY", "WHAT", ">PACKETS")
    for side in wire["sides"].elements {
      let interface = side["interface"].cell
      for (prefix, member) in [("sent on by ", "forwarded"), ("dropped: ", "dropped")] {
        for (name, count) in side[member].members.sorted(by: { $0.key < $1.key })
        where member == "forwarded" || count.integer != 0 {
          table.add(interface, prefix + name, count.cell)
        }
      }
      for name in ["captured", "mirrored", "mirror_dropped"] where side[name].integer ?? 0 > 0 {
        table.add(interface, name.replacing("_", with: " "), side[name].cell)
      }
    }
    if !table.isEmpty { lines.append(table.text) }
    let flows = wire["flow_state"]
    if flows != .null {
      lines.append(
        "flows: \(flows["active"].cell) of \(flows["capacity"].cell) active, \(flows["closed"].cell) closed "
          + "(\(flows["evicted"].cell) early), \(flows["exported_records"].cell) records exported, \(flows["lost"].cell) lost")
      let errors = (flows["export_errors"].object ?? [:]).filter { $0.value.integer != 0 }.sorted { $0.key < $1.key }
      if !errors.isEmpty { lines.append("export errors: " + errors.map { "\($0.key) \($0.value.cell)" }.joined(separator: ", ")) }
    }
    return lines.joined(separator: "\n")
  }
}
