import ArgumentParser
import Bench

/// The measured works, each in a process of its own: what `sluice bench` starts.
struct BenchSubject: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "subject", shouldDisplay: false,
    subcommands: [
      Load.self, Receive.self, Capture.self, KernelWire.self, Wire.self, Transmit.self, TransmitByAFXDP.self,
      Filter.self, Drop.self,
    ])

  struct Load: ParsableCommand {
    @Argument var interface: String
    @Option var size = 64
    @Option var rate: Double?
    @Option var seconds: Double?
    @Option var batch: UInt32 = 16384
    @Option var rules: Int?
    @Flag var stamps = false

    func run() throws {
      let frames = rules.map { LoadFrames.matching(ruleCount: $0) } ?? .alike(byteCount: size, hasStamps: stamps)
      try Subject.load(interface, frames, packetsPerSecond: rate, seconds: seconds, batch: batch)
    }
  }

  struct Receive: ParsableCommand {
    @Argument var interface: String
    @Option var batch: UInt32 = 256
    @Option var cpu = 1
    @Flag var rules = false
    @Flag var bySocket = false

    func run() throws {
      if rules {
        try Subject.receiveAsDaemon(interface, cpu: cpu)
      } else {
        try Subject.receive(interface, batch: batch, bySocket: bySocket)
      }
    }
  }

  struct Capture: ParsableCommand {
    @Argument var interface: String
    @Option var path: String
    @Option var cpu = 1
    @Flag var rules = false

    func run() throws { try Subject.capture(interface, path: path, cpu: cpu, classifies: rules) }
  }

  struct KernelWire: ParsableCommand {
    @Argument var first: String
    @Argument var second: String

    @Flag var rules = false

    func run() throws { try Subject.kernelWire(first, second, classifies: rules) }
  }

  struct TransmitByAFXDP: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "transmit-afxdp")

    @Argument var interface: String
    @Option var size = 64
    @Option var batch: UInt32 = 256

    func run() throws { try Subject.transmitByAFXDP(interface, frameByteCount: size, batch: batch) }
  }

  struct Transmit: ParsableCommand {
    @Argument var interface: String
    @Option var size = 64
    @Option var batch: UInt32 = 8192
    @Option var cpu: [Int] = [1]

    func run() throws { try Subject.transmit(interface, frameByteCount: size, batch: batch, cpus: cpu) }
  }

  struct Filter: ParsableCommand {
    @Argument var interface: String
    @Option var rules: Int

    func run() throws { try Subject.filter(interface, ruleCount: rules) }
  }

  struct Drop: ParsableCommand {
    @Argument var interface: String

    func run() throws { try Subject.drop(interface) }
  }

  struct Wire: ParsableCommand {
    @Argument var first: String
    @Argument var second: String
    @Option var wait = "spin"
    @Option var cpu = 1
    @Flag var rules = false

    func run() throws { try Subject.wire(first, second, wait: wait, cpu: cpu, classifies: rules) }
  }
}
