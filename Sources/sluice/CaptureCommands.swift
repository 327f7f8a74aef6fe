import ArgumentParser
import ControlProtocol
import Foundation

struct CaptureCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "capture", abstract: "Packets that capture rules catch, written to pcapng files.",
    discussion: """
      EXAMPLES
        sluice capture eth0 -w - | wireshark -k -i -
        sluice capture start eth0 --packets 10000
        sluice capture list
      """,
    subcommands: [Start.self, Stop.self, List.self], defaultSubcommand: Start.self)

  struct Start: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Start a capture. It ends at a limit or with `capture stop`.",
      discussion: """
        Where the interface has several queues, packets are in order within each; `reordercap FILE NEW` puts all in order.

        EXAMPLES
          sluice capture start eth0 --packets 10000
          sluice capture start eth0 --duration 5m --snap-length 128 --sample 100
          sluice capture start eth0 --rule look --path look.pcapng --file-bytes 100000000 --files 10
          sluice capture start eth0 -w - | tshark -r -
        """)
    @Argument(help: "The interface.")
    var interface: String
    @Option(help: "A file name in the daemon's capture directory; it chooses one where this is left out.")
    var path: String?
    @Option(
      name: [.short, .customLong("write")],
      help: "Bring the capture here while it runs, to a new file or (-) to standard output; it ends when nobody reads any more.")
    var write: String?
    @Option(help: "Bytes kept of each packet; all where this is left out.")
    var snapLength: UInt32 = 0
    @Option(name: .customLong("sample"), help: "Write one packet of so many.")
    var sampleEvery: UInt32 = 0
    @Option(name: .customLong("packets"), help: "Stop after so many packets.")
    var packetLimit: UInt64 = 0
    @Option(name: .customLong("bytes"), help: "Stop after so many bytes.")
    var byteLimit: UInt64 = 0
    @Option(help: "Stop after this time: 500ms, 30s, 5m, 1h.")
    var duration: String?
    @Option(name: .customLong("file-bytes"), help: "With --files: begin a new file after so many bytes.")
    var fileByteLimit: UInt64 = 0
    @Option(name: .customLong("files"), help: "Keep so many files, the newest.")
    var fileCount: UInt32 = 0
    @Option(name: .customLong("rule"), help: "Only packets that this rule caught. Can be repeated.")
    var rules: [String] = []
    @OptionGroup var options: TargetOptions

    func validate() throws {
      if write != nil, path != nil || fileByteLimit > 0 || fileCount > 0 {
        throw ValidationError("--write excludes --path, --file-bytes and --files: those are files of the daemon")
      }
      if fileByteLimit > 0, fileCount == 0 {
        throw ValidationError("--file-bytes begins a new file: say with --files how many to keep, or with --bytes when to stop")
      }
    }

    func run() async throws {
      let output = options.output
      let milliseconds = try duration.map { text throws(CommandError) in try Quantity.milliseconds(text) } ?? 0
      if let write { return try await stream(to: write, UInt64(milliseconds)) }
      try await options.run { api in
        let body: JSON = [
          "node": .string(options.node), "interface": .string(interface), "path": .optional(path),
          "snap_length": .count(snapLength), "sample_every": .count(sampleEvery), "packet_limit": .count(packetLimit),
          "byte_limit": .count(byteLimit), "duration_ms": .count(milliseconds),
          "file_byte_limit": .count(fileByteLimit), "file_count": .count(fileCount), "rules": .strings(rules),
        ]
        let capture = try await api.call(.post, "/captures", body: body)["data"]
        output.write(capture, CaptureCommand.text(capture))
      } daemon: { daemon in
        let capture = try await daemon.startCapture(
          .with {
            ($0.interface, $0.path, $0.rules) = (interface, path ?? "", rules)
            ($0.snapLength, $0.sampleEvery) = (snapLength, sampleEvery)
            ($0.packetLimit, $0.byteLimit, $0.durationMillis) = (packetLimit, byteLimit, UInt64(milliseconds))
            ($0.fileByteLimit, $0.fileCount) = (fileByteLimit, fileCount)
          }
        ).json
        output.write(capture, CaptureCommand.text(capture))
      }
    }
  }

  struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Stop a capture.")
    @Argument(help: "The capture's id, as `capture start` and `capture list` say it.")
    var id: String
    @OptionGroup var options: TargetOptions

    func run() async throws {
      let output = options.output
      try await options.run { api in
        try tell(try await api.call(.post, APIClient.path("captures", id, "stop"))["data"], output)
      } daemon: { daemon in
        try tell(try await daemon.stopCapture(id).json, output)
      }
    }

    /// A capture that failed before is told as one: its file lacks packets.
    private func tell(_ capture: JSON, _ output: Output) throws {
      output.write(capture, CaptureCommand.text(capture))
      if capture["state"] == "failed" { throw ExitCode(ExitStatus.failure.rawValue) }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Running captures and those before; straight from the daemon (--socket) in its own order.")
    @OptionGroup var order: SortOptions
    @OptionGroup var options: TargetOptions

    func run() async throws {
      let output = options.output
      try await options.run { api in
        let captures = try await api.list("/captures", query: [("node", options.node)] + order.query)
        output.write(.array(captures), CaptureCommand.table(captures))
      } daemon: { daemon in
        guard order.sort == nil else { throw CommandError.usage("--sort is what the API does: leave --socket out") }
        let captures = try await daemon.captures().map(\.json)
        output.write(.array(captures), CaptureCommand.table(captures))
      }
    }
  }

  static func text(_ capture: JSON) -> String {
    var lines = ["capture \(capture["id"].cell) on \(capture["interface"].cell): \(capture["state"].cell)"]
    if let error = capture["error"].string, !error.isEmpty { lines.append("error: \(error)") }
    let counts = ["written", "sampled_out", "filtered_out", "dropped"].map { name in
      "\(capture["packets_" + name].cell) \(name.replacing("_", with: " "))"
    }
    lines.append("\(capture["packets_received"].cell) packets received: " + counts.joined(separator: ", "))
    if let lost = capture["packets_lost_by_kernel"].integer, lost > 0 {
      lines.append("\(lost) more were lost by the kernel: the sockets' rings were full")
    }
    lines += capture["files"].elements.map { "file \($0.cell)" }
    return lines.map(Terminal.safe).joined(separator: "\n")
  }

  static func table(_ captures: [JSON]) -> String {
    var table = Table("CAPTURE", "INTERFACE", "STATE", ">RECEIVED", ">WRITTEN", ">DROPPED", ">LOST", ">BYTES", "STARTED", "FILE")
    for capture in captures {
      table.add(
        capture["id"].cell, capture["interface"].cell, capture["state"].cell, capture["packets_received"].cell,
        capture["packets_written"].cell, capture["packets_dropped"].cell, capture["packets_lost_by_kernel"].cell,
        capture["bytes_written"].cell,
        capture["started_at"].cell, capture["files"].elements.last?.cell ?? "")
    }
    return table.text
  }
}
