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
          protocol=udp|tcp|icmp|icmpv6
          source=, destination=             IP, IP/LENGTH or IP-IP
          source-port=, destination-port=   P or P-P
          size=                             bytes, or a mix (see SIZES)
          vlan=                             its id
          name=                             for the report
          count=                            packets of this flow, or
          weight=                           its part of --count
          walk=together|all|random          which of them meet in a frame
        together: side by side, the next packet takes the next address and port of each range. all: each with each, \
      source ports changing fastest. random: as all, in an order that --seed decides, over the whole of ranges that \
      are larger than the table (65536 frames, of all threads together). Without --flow there is one flow: UDP from \
      198.18.0.1:1024 to 198.19.0.1:9, frames of 64 bytes. With counts, each flow has exactly its packets. Without \
      counts and --duration it goes on until Ctrl-C, which still prints the result.

      SIZES
        64 | 64-1518 (each of them in turn) | 64:7,570:4,1518:1 (SIZE:WEIGHT; in a flow with / for ,) | imix
        A size is that of the frame without its check sequence, 4 bytes fewer than on the wire. imix is 7:4:1 frames of \
      64, 570 and 1518 bytes on the wire: 60, 566 and 1514 here. Each combination of addresses meets each size.

      RATES
        --rate 100000 | 1.5Mpps | 800Mbit | 10Gbit/l1. Bits are those of frames as SIZES counts them (l2), or with \
      /l1 all that a frame takes on the line: 24 bytes more (preamble, check sequence, gap).
        --ramp FROM:TO:STEP:EVERY goes from one rate to another, for example 10%:100%:10%:5s of --rate, or \
      100kpps:1Mpps:100kpps:2s, and tells of each step what was sent and lost.
        Packets leave when they are due, one by one where the machine keeps up (--burst N: N together). A paced thread \
      waits by watching the clock, which keeps its core busy. What was due and not even tried is the shortfall.

      LATENCY
        --receive INTERFACE counts at the other end what arrives, in its driver, and takes it off the network: the \
      result has what was lost, in all and by step of a ramp. With --latency each frame also carries when it left \
      and its number, and the result has how long frames took (p50, p90, p99, p99.9, least, most), how many are \
      missing and how many came behind a later one; frames of others, such as the stack's own multicasts, are told \
      apart, while without it whatever arrives is counted. Both ends are of this machine and this network namespace: the \
      clock is one. Time runs from when a frame is built, so at full speed it has the batch's queueing in it: give \
      a --rate. Stamps lie behind the headers, which takes frames of 60 bytes or more; stamped UDP over IPv4 has no \
      checksum, that of other protocols is wrong. Threads are pinned, so that each one's numbers stay in order.

      REPLAY
        --pcap FILE sends a pcap or pcapng as fast as --rate says, or with --replay-speed 1x (0.5x, 10x) in its \
      recorded gaps. --destination-mac, --source-mac, --set-vlan, --strip-vlan and --map 10.0.0.0/8=198.18.0.0/8 \
      rewrite its frames; checksums follow.

      RESULT
        attempted = redirected + failed; sent = redirected - transmit_dropped, where transmit_dropped is what the \
      interface counted as dropped meanwhile (on a veth: what the peer's ring had no room for). With --json \
      --interval 1s a line each second comes before it.

      EXAMPLES
        sluice generate --interface veth0 --count 1000000
        sluice generate --interface veth0 --rate 100000 --duration 10 --flows 256
        sluice generate --interface veth0 --rate 5Gbit --size imix --duration 30s --threads 2
        sluice generate --interface veth0 --rate 3Mpps --ramp 10%:100%:10%:5s
        sluice generate --interface veth0 --receive veth1 --latency --rate 100k --duration 10s
        sluice generate --interface veth0 --flow source=10.0.0.0/24,destination=10.1.0.0/24,walk=random --seed 7
        sluice generate --interface veth0 \\
          --flow name=web,protocol=tcp,source=10.0.0.0/24,destination=192.0.2.1,destination-port=443,count=500000 \\
          --flow name=dns,source=10.0.1.1-10.0.1.9,destination=192.0.2.1,destination-port=53,count=250000 --json
        sluice generate --interface veth0 --pcap attack.pcapng --count 1000000 --destination-mac 02:00:00:00:00:02
        sluice generate --interface veth0 --pcap voip.pcap --replay-speed 1x --loops 10 --map 10.0.0.0/8=198.18.0.0/8
        sluice generate --interface veth0 --flow protocol=icmpv6,count=10 --dry-run --show-frames 2
      """)

  @Option(name: [.long, .customShort("i")], help: "Where the frames leave.")
  var interface: String

  @Option(name: .customLong("flow"), help: "A flow; may repeat. See FLOWS.")
  var flowTexts: [String] = []

  @Option(help: "Send the frames of a pcap or pcapng file in turn; once, unless told otherwise. See REPLAY.")
  var pcap: String?

  @Option(help: "Packets of all flows together.")
  var count: UInt64?

  @Option(help: "How often the whole capture is sent.")
  var loops: UInt64?

  @Option(help: "Packets or bits a second; 0: as fast as it goes. See RATES. [0]")
  var rate: String?

  @Option(help: "FROM:TO:STEP:EVERY. See RATES.")
  var ramp: String?

  @Option(help: "Packets that leave together when --rate paces them, 1 to 16384.")
  var burst: UInt32 = 1

  @Option(help: "max, or the capture's own gaps: 1x, 0.5x, 10x. [max]")
  var replaySpeed: String?

  @Option(help: "Of frames whose flow names no size: bytes or a mix. See SIZES.")
  var size: String?

  @Option(help: "Stop after this time: seconds, 500ms, 30s, 5m, 1h.")
  var duration: String?

  @Option(help: "Flows that name no source port take so many, from 1024 on.")
  var flows = 1

  @Option(help: "Decides the order of walk=random.")
  var seed: UInt64 = 1

  @Option(help: "Generators at once, each on a thread of its own; flows are split among them, 1 to 64.")
  var threads: Int?

  @Option(help: "CPUs to pin the threads to, one each: 0,1 or 2-5.")
  var cpus: String?

  @Option(help: "Count at this interface what arrives. See LATENCY.")
  var receive: String?

  @Flag(help: "Measure how long frames take to --receive. See LATENCY.")
  var latency = false

  @Option(help: "Where the frames go. [02:00:00:00:00:02; with --pcap as captured]")
  var destinationMac: String?

  @Option(help: "Where the frames come from. [the interface's address; with --pcap as captured]")
  var sourceMac: String?

  @Option(help: "VLAN of the capture's frames: replaces the identifier, or adds a tag.")
  var setVlan: UInt16?

  @Flag(help: "Take the VLAN tags off the capture's frames.")
  var stripVlan = false

  @Option(name: .customLong("map"), help: "Move addresses of the capture, PREFIX=PREFIX; may repeat, the first decides.")
  var maps: [String] = []

  @Flag(help: "Cut frames of the capture that are longer than the engine takes.")
  var truncate = false

  @Flag(help: "Send although the interface carries a default route.")
  var force = false

  @Flag(help: "Show what would be sent and send nothing. Needs no privileges.")
  var dryRun = false

  @Option(help: "With --dry-run: the first so many frames as hexadecimal digits.")
  var showFrames = 0

  @Flag(name: [.long, .customShort("q")], help: "No line of progress each second.")
  var quiet = false

  @Option(help: "With --json: a line of progress each time, before the result's.")
  var interval: String?

  @OptionGroup var outputOptions: OutputOptions

  func run() throws {
    let output = outputOptions.output
    let progress = try progress()
    if dryRun {
      let job = try job(hardwareAddress: try? NetworkInterface.named(interface).hardwareAddress)
      output.write(
        GenerateText.json(job, interface: interface, frameCount: showFrames),
        GenerateText.table(job, frameCount: showFrames))
      return
    }
    let interface = try GenerateChecks.interface(interface, force: force)
    let job = try job(hardwareAddress: interface.hardwareAddress)
    try GenerateChecks.size(job.plan, interface)
    // First the sink: with a program at its peer a veth takes XDP frames.
    let receiver = try receive.map { try GenerateReceiver($0, job: job, sender: interface) }
    try GenerateChecks.features(interface)
    for note in job.notes { output.note("note: \(note)") }
    let outcome = try GenerateRun(
      interface: interface, job: job, output: output, progress: progress, receiver: receiver
    ).perform()
    let json = GenerateText.json(outcome, interface: interface.name)
    if interval != nil {
      Terminal.print(json.text(pretty: false))
    } else {
      output.write(json, GenerateText.table(outcome))
    }
    if outcome.report.failed > 0 { throw ExitCode.failure }
  }

  private func progress() throws(CommandError) -> GenerateProgress {
    guard let interval else { return GenerateProgress(isShown: !quiet && !outputOptions.json) }
    guard outputOptions.json else { throw .usage("--interval is for --json; a line each second is shown without it") }
    return GenerateProgress(linesEvery: UInt64(try Quantity.milliseconds(interval)) * 1_000_000)
  }
}
