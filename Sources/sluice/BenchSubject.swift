import ArgumentParser
import Bench

/// The measured works, each in a process of its own: what `sluice bench` starts.
struct BenchSubject: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "subject", shouldDisplay: false,
    subcommands: [Load.self, Receive.self, Capture.self, TransmitByAFXDP.self])

  struct Load: ParsableCommand {
    @Argument var interface: String
    @Option var size = 64
    @Option var rate: Double?
    @Option var seconds: Double?
    @Option var batch: UInt32 = 1024

    func run() throws {
      try Subject.load(interface, frameByteCount: size, packetsPerSecond: rate, seconds: seconds, batch: batch)
    }
  }

  struct Receive: ParsableCommand {
    @Argument var interface: String
    @Option var cpu = 1

    func run() throws { try Subject.receive(interface, cpu: cpu) }
  }

  struct Capture: ParsableCommand {
    @Argument var interface: String
    @Option var path: String
    @Option var cpu = 1

    func run() throws { try Subject.capture(interface, path: path, cpu: cpu) }
  }

  struct TransmitByAFXDP: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "transmit-afxdp")

    @Argument var interface: String
    @Option var size = 64
    @Option var batch: UInt32 = 256

    func run() throws { try Subject.transmitByAFXDP(interface, frameByteCount: size, batch: batch) }
  }
}
