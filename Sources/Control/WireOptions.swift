import Rules

/// What a packet thread does while there are no packets, and how much it takes at a time. Nil and 0: the daemon's setting.
public struct WorkerOptions: Hashable, Sendable, Codable {
  public enum Wait: String, Hashable, Sendable, Codable, CaseIterable {
    /// Looks again for a while, then sleeps: an idle thread uses no CPU.
    case adaptive
    /// Looks again without end: the lowest latency, and a whole CPU.
    case spin
    /// Sleeps at once.
    case block
  }

  public var wait: Wait?
  /// Packets taken at a time, at most.
  public var batch: UInt32
  /// Entries of the fill and receive rings; also nothing in the daemon's setting: what suits the thread.
  public var ringEntries: UInt32

  public static let batchRange: ClosedRange<UInt32> = 32...1024
  public static let ringEntriesRange: ClosedRange<UInt32> = 256...65_536

  public init(wait: Wait? = nil, batch: UInt32 = 0, ringEntries: UInt32 = 0) {
    self.wait = wait
    self.batch = batch
    self.ringEntries = ringEntries
  }

  /// What is set here, and for the rest what `defaults` says.
  func over(_ defaults: WorkerOptions) -> WorkerOptions {
    WorkerOptions(
      wait: wait ?? defaults.wait, batch: batch == 0 ? defaults.batch : batch,
      ringEntries: ringEntries == 0 ? defaults.ringEntries : ringEntries)
  }

  /// Names the first field that cannot be.
  public func check(_ path: String) throws(ControlError) {
    if batch != 0, !Self.batchRange.contains(batch) {
      throw ControlError(
        .invalidArgument, "\(path)batch: \(Self.batchRange.lowerBound) to \(Self.batchRange.upperBound) packets, or 0 for "
          + "the daemon's setting")
    }
    let isPower = ringEntries.nonzeroBitCount == 1
    if ringEntries != 0, !isPower || !Self.ringEntriesRange.contains(ringEntries) {
      throw ControlError(
        .invalidArgument, "\(path)ring_entries: a power of two, \(Self.ringEntriesRange.lowerBound) to "
          + "\(Self.ringEntriesRange.upperBound), or 0 for the daemon's setting")
    }
  }
}

/// Accounting of flows on a wire. Zeros are defaults.
public struct FlowOptions: Hashable, Sendable, Codable {
  /// Where records go as IPFIX over UDP; empty: nowhere.
  public var collector: String
  public var activeTimeoutMilliseconds: UInt64
  public var idleTimeoutMilliseconds: UInt64
  /// Look at one of N packets; 0 and 1: all.
  public var sampleEvery: UInt32
  /// Flows of each packet thread at one time.
  public var flowsMax: UInt32

  public static let flowsMaxDefault: UInt32 = 65_536
  public static let flowsMaxRange: ClosedRange<UInt32> = 1024...4_194_304
  public static let timeoutRange: ClosedRange<UInt64> = 100...3_600_000

  public init(
    collector: String = "", activeTimeoutMilliseconds: UInt64 = 0, idleTimeoutMilliseconds: UInt64 = 0,
    sampleEvery: UInt32 = 0, flowsMax: UInt32 = 0
  ) {
    self.collector = collector
    self.activeTimeoutMilliseconds = activeTimeoutMilliseconds
    self.idleTimeoutMilliseconds = idleTimeoutMilliseconds
    self.sampleEvery = sampleEvery
    self.flowsMax = flowsMax
  }
}

/// A wire as asked for: what the rules of one side pass leaves by the other.
public struct WireOptions: Hashable, Sendable, Codable {
  public enum Path: String, Hashable, Sendable, Codable, CaseIterable {
    /// The kernel's, unless something needs the packets in user space.
    case auto
    /// Redirected by the XDP program.
    case kernel
    /// Through the daemon's packet threads.
    case user
  }

  /// How packets of the user path are sent.
  public enum Live: String, Hashable, Sendable, Codable, CaseIterable {
    /// As live frames where that is faster and the device takes them, else by AF_XDP.
    case auto
    case off
    case required
  }

  public var name: String
  public var a: String
  /// Equal to ``a``: a reflector.
  public var b: String
  public var path: Path
  public var worker: WorkerOptions
  public var live: Live
  public var flows: FlowOptions?
  /// An interface that gets copies; empty: none.
  public var mirror: String
  /// Copy one of N packets; 0 and 1: all.
  public var mirrorSampleEvery: UInt32

  public init(
    name: String, a: String, b: String, path: Path = .auto, worker: WorkerOptions = WorkerOptions(), live: Live = .auto,
    flows: FlowOptions? = nil, mirror: String = "", mirrorSampleEvery: UInt32 = 0
  ) {
    self.name = name
    self.a = a
    self.b = b
    self.path = path
    self.worker = worker
    self.live = live
    self.flows = flows
    self.mirror = mirror
    self.mirrorSampleEvery = mirrorSampleEvery
  }

  public var isReflector: Bool { a == b }
  /// The interfaces that packets come in by.
  public var sides: [String] { isReflector ? [a] : [a, b] }

  /// Wires at one time.
  public static let wiresMax = 32
}
