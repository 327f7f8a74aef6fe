import Foundation

/// What was asked of a capture; 0 means the daemon's default or no limit, as in the control protocol.
public struct CaptureRequest: Hashable, Sendable, Codable {
  /// A bare file name in the daemon's capture directory; nil lets the daemon choose.
  public var path: String?
  public var snapLength: UInt32
  public var sampleEvery: UInt32
  public var packetLimit: UInt64
  public var byteLimit: UInt64
  public var durationMilliseconds: UInt64
  public var fileByteLimit: UInt64
  public var fileCount: UInt32
  public var rules: [String]

  public init(
    path: String? = nil, snapLength: UInt32 = 0, sampleEvery: UInt32 = 0, packetLimit: UInt64 = 0,
    byteLimit: UInt64 = 0, durationMilliseconds: UInt64 = 0, fileByteLimit: UInt64 = 0, fileCount: UInt32 = 0,
    rules: [String] = []
  ) {
    self.path = path
    self.snapLength = snapLength
    self.sampleEvery = sampleEvery
    self.packetLimit = packetLimit
    self.byteLimit = byteLimit
    self.durationMilliseconds = durationMilliseconds
    self.fileByteLimit = fileByteLimit
    self.fileCount = fileCount
    self.rules = rules
  }
}

public enum CaptureState: String, Hashable, Sendable, Codable, CaseIterable {
  case running, finished, failed
}

/// What became of a capture, as the daemon last said.
public struct CaptureProgress: Hashable, Sendable, Codable {
  public var state: CaptureState
  /// Empty unless it failed, or its last report is lost.
  public var error: String
  public var packetsReceived: UInt64
  public var packetsWritten: UInt64
  public var packetsSampledOut: UInt64
  public var packetsFilteredOut: UInt64
  public var packetsDropped: UInt64
  /// Not among those received.
  public var packetsLostByKernel: UInt64
  public var bytesWritten: UInt64
  public var files: [String]

  public init(
    state: CaptureState = .running, error: String = "", packetsReceived: UInt64 = 0, packetsWritten: UInt64 = 0,
    packetsSampledOut: UInt64 = 0, packetsFilteredOut: UInt64 = 0, packetsDropped: UInt64 = 0,
    packetsLostByKernel: UInt64 = 0, bytesWritten: UInt64 = 0, files: [String] = []
  ) {
    self.state = state
    self.error = error
    self.packetsReceived = packetsReceived
    self.packetsWritten = packetsWritten
    self.packetsSampledOut = packetsSampledOut
    self.packetsFilteredOut = packetsFilteredOut
    self.packetsDropped = packetsDropped
    self.packetsLostByKernel = packetsLostByKernel
    self.bytesWritten = bytesWritten
    self.files = files
  }

  public init(from decoder: any Decoder) throws {
    let members = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      state: try members.decode(CaptureState.self, forKey: .state), error: try members.decode(String.self, forKey: .error),
      packetsReceived: try members.decode(UInt64.self, forKey: .packetsReceived),
      packetsWritten: try members.decode(UInt64.self, forKey: .packetsWritten),
      packetsSampledOut: try members.decode(UInt64.self, forKey: .packetsSampledOut),
      packetsFilteredOut: try members.decode(UInt64.self, forKey: .packetsFilteredOut),
      packetsDropped: try members.decode(UInt64.self, forKey: .packetsDropped),
      // Earlier versions didn't write it.
      packetsLostByKernel: try members.decodeIfPresent(UInt64.self, forKey: .packetsLostByKernel) ?? 0,
      bytesWritten: try members.decode(UInt64.self, forKey: .bytesWritten),
      files: try members.decode([String].self, forKey: .files))
  }
}

/// A capture in the history. It refers to node and interface by name, and outlives both.
public struct CaptureRecord: Hashable, Sendable, Identifiable {
  public let id: UUID
  public var node: String
  public var interface: String
  /// The capture's id on the daemon.
  public var daemonID: String
  public var request: CaptureRequest
  public var progress: CaptureProgress
  public var startedBy: Author
  public var startedAt: Date
  public var finishedAt: Date?
}

public struct NewCapture: Sendable {
  public var node: String
  public var interface: String
  public var daemonID: String
  public var request: CaptureRequest
  public var progress: CaptureProgress
  public var startedBy: Author
  public var startedAt: Date

  public init(
    node: String, interface: String, daemonID: String, request: CaptureRequest,
    progress: CaptureProgress = .init(), startedBy: Author, startedAt: Date
  ) {
    self.node = node
    self.interface = interface
    self.daemonID = daemonID
    self.request = request
    self.progress = progress
    self.startedBy = startedBy
    self.startedAt = startedAt
  }
}

/// Which captures; nil is any.
public struct CaptureFilter: Hashable, Sendable {
  public var node: String?
  public var interface: String?
  public var state: CaptureState?

  /// Only those of these nodes and interfaces, by their names; nil: all.
  public var among: Places?

  /// Whole nodes, and interfaces as `node/interface`.
  public struct Places: Hashable, Sendable {
    public var nodes: Set<String>
    public var interfaces: Set<String>

    public init(nodes: Set<String>, interfaces: Set<String>) {
      self.nodes = nodes
      self.interfaces = interfaces
    }
  }

  public init(node: String? = nil, interface: String? = nil, state: CaptureState? = nil) {
    self.node = node
    self.interface = interface
    self.state = state
  }
}
