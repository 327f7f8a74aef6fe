import ArgumentParser
import LinuxSystem
import Packets
import Traffic

struct Generate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Send test traffic out of an interface, counted to the packet.",
    discussion: """
      Frames go from memory to the interface's driver by XDP, without a socket: millions a second on one core. Needs \
      root (CAP_BPF and CAP_NET_ADMIN) and Linux 5.18. The interface must take XDP frames: a veth does while its peer \
      has an XDP program or GRO on.

      FLOWS
        --flow key=value,... once for each flow (at most 64):
          protocol=udp|tcp|icmp|icmpv6       source=IP, IP/LENGTH or IP-IP   destination= likewise
          source-port=P or P-P               destination-port= likewise
          size=BYTES (60 to 2044)            vlan=ID                         name=TEXT
          count=PACKETS of this flow, or weight=W: its part of --count
        Ranges are walked side by side: the next packet takes the next address and the next port of each. Without \
        --flow there is one flow: UDP from 198.18.0.1:1024 to 198.19.0.1:9, frames of 64 bytes. Sizes are those of the \
        frame without its check sequence. With counts, each flow has exactly its packets. Without counts and \
        --duration it goes on until Ctrl-C, which still prints the result.

      RESULT
        attempted = redirected + failed; sent = redirected - transmit_dropped, where transmit_dropped is what the \
        interface counted as dropped meanwhile (on a veth: what the peer's ring had no room for).

      EXAMPLES
        sluice generate --interface veth0 --count 1000000
        sluice generate --interface veth0 --rate 100000 --duration 10 --flows 256
        sluice generate --interface veth0 \\
          --flow name=web,protocol=tcp,source=10.0.0.0/24,destination=192.0.2.1,destination-port=443,count=500000 \\
          --flow name=dns,source=10.0.1.1-10.0.1.9,destination=192.0.2.1,destination-port=53,count=250000 --json
        sluice generate --interface veth0 --pcap attack.pcapng --count 1000000 --destination-mac 02:00:00:00:00:02
        sluice generate --interface veth0 --flow protocol=icmpv6,count=10 --dry-run
      """)

  @Option(name: [.long, .customShort("i")], help: "Where the frames leave.")
  var interface: String

  @Option(name: .customLong("flow"), help: "A flow; may repeat. See FLOWS.")
  var flowTexts: [String] = []

  @Option(help: "Send the frames of a pcap or pcapng file in turn; once, unless --count or --duration is given.")
  var pcap: String?

  @Option(help: "Packets of all flows together.")
  var count: UInt64?

  @Option(help: "Packets a second. [as fast as it goes]")
  var rate: UInt64?

  @Option(help: "Bytes of frames whose flow names no size, 60 to 2044.")
  var size: Int?

  @Option(help: "Stop after so many seconds.")
  var duration: Double?

  @Option(help: "Flows that name no source port take so many, from 1024 on.")
  var flows = 1

  @Option(help: "Where the frames go. [02:00:00:00:00:02; with --pcap as captured]")
  var destinationMac: String?

  @Option(help: "Where the frames come from. [the interface's address; with --pcap as captured]")
  var sourceMac: String?

  @Flag(help: "Cut frames of the capture that are longer than 2044 bytes.")
  var truncate = false

  @Flag(help: "Send although the interface carries a default route.")
  var force = false

  @Flag(help: "Show what would be sent and send nothing. Needs no privileges.")
  var dryRun = false

  @OptionGroup var outputOptions: OutputOptions

  func run() throws {
    let output = outputOptions.output
    try checkNumbers()
    if dryRun {
      let plan = try plan(hardwareAddress: try? NetworkInterface.named(interface).hardwareAddress)
      output.write(GenerateText.json(plan, interface: interface), GenerateText.table(plan))
      return
    }
    let interface = try GenerateChecks.interface(interface, force: force)
    let plan = try plan(hardwareAddress: interface.hardwareAddress)
    try GenerateChecks.size(plan, interface)
    if let note = GenerateText.note(plan) { output.note(note) }
    let report = try GenerateRun(
      interface: interface, plan: plan, packetsPerSecond: rate == 0 ? nil : rate,
      durationNanoseconds: duration.map { UInt64($0 * 1e9) }, output: output
    ).perform()
    output.write(
      GenerateText.json(report.result, interface: interface.name, slowReason: report.slowReason),
      GenerateText.table(report.result, slowReason: report.slowReason))
    if report.result.failed > 0 { throw ExitCode.failure }
  }

  private func checkNumbers() throws(CommandError) {
    let sizes = TrafficLimits.frameByteCountMin...TrafficLimits.frameByteCountMax
    if let size, !sizes.contains(size) {
      throw .usage("--size \(size) is out of range: a frame has \(sizes.lowerBound) to \(sizes.upperBound) bytes")
    }
    if let count, !(1...TrafficLimits.packetCountMax).contains(count) {
      throw .usage("--count \(count) is out of range: 1 to \(TrafficLimits.packetCountMax) packets")
    }
    if let rate, rate > TrafficLimits.packetsPerSecondMax {
      throw .usage("--rate \(rate) is out of range: at most \(TrafficLimits.packetsPerSecondMax) packets a second")
    }
    if let duration, !(duration >= 0.001 && duration <= 31 * 86_400) {
      throw .usage("--duration \(duration) is out of range: 0.001 to \(31 * 86_400) seconds")
    }
    guard (1...64512).contains(flows) else {
      throw .usage("--flows \(flows) is out of range: 1 to 64512, one for each source port from 1024 on")
    }
    if pcap != nil, !flowTexts.isEmpty || flows > 1 || size != nil {
      throw .usage("--pcap sends the file's packets as they are: --flow, --flows and --size exclude it")
    }
    if truncate && pcap == nil { throw .usage("--truncate is for --pcap") }
  }

  private func plan(hardwareAddress: [UInt8]?) throws -> TrafficPlan {
    do {
      let destination = try destinationMac.map(MACAddress.init(parsing:))
      let source = try sourceMac.map(MACAddress.init(parsing:))
      if let pcap { return try capturePlan(pcap, destination: destination, source: source) }
      var options = TrafficPlan.Options()
      if let destination { options.destinationMAC = destination }
      if let hardwareAddress, hardwareAddress.count == 6 {
        options.sourceMAC = MACAddress(value: hardwareAddress.reduce(0) { $0 << 8 | UInt64($1) })
      }
      if let source { options.sourceMAC = source }
      options.frameByteCount = size
      options.sourcePortCount = flows
      options.packetCount = count
      return try TrafficPlan(try flowTexts.map(FlowSpecification.init(parsing:)), options: options)
    } catch let error as TrafficError {
      throw CommandError.usage(error.description)
    } catch let error as ValueTextError {
      throw CommandError.usage(error.description)
    }
  }

  private func capturePlan(_ path: String, destination: MACAddress?, source: MACAddress?) throws -> TrafficPlan {
    let bytes: [UInt8]
    do {
      bytes = try SmallFile.read(path, byteCountMax: CaptureFile.byteCountMax)
    } catch {
      throw CommandError(.failure, "capture_unreadable", error.description)
    }
    do {
      var file = try CaptureFile(parsing: bytes)
      try file.fit(truncates: truncate)
      file.rewrite(destinationMAC: destination, sourceMAC: source)
      if file.cutCount > 0 {
        outputOptions.output.note("note: the capture kept only the beginning of \(file.cutCount) packets; that is sent")
      }
      let once = duration == nil ? UInt64(file.frames.count) : nil
      return TrafficPlan(name: "pcap", frames: file.frames, packetCount: count ?? once)
    } catch {
      throw CommandError(.failure, "capture_unusable", "\(path): \(error)")
    }
  }
}
