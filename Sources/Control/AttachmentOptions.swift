import Rules
import XDPPrograms

/// How an interface is attached: what the operator asked for.
public struct AttachmentOptions: Hashable, Sendable, Codable {
  public enum ZeroCopy: String, Hashable, Sendable, Codable, CaseIterable {
    /// Zero-copy where the driver can, else copy.
    case auto
    /// Fail where the driver can't.
    case required
    case off
  }

  public var mode: AttachOptions.Mode
  public var coexistence: AttachOptions.Coexistence
  public var zeroCopy: ZeroCopy
  /// What becomes of packets that a capture rule matches while no capture runs.
  public var captureFallback: Fate
  /// Stay attached, deciding by the last generation, when the daemon stops.
  public var keepOnExit: Bool
  /// Of the threads that receive captured packets.
  public var worker: WorkerOptions

  public init(
    mode: AttachOptions.Mode = .auto, coexistence: AttachOptions.Coexistence = .auto, zeroCopy: ZeroCopy = .auto,
    captureFallback: Fate = .pass, keepOnExit: Bool = false,
    worker: WorkerOptions = WorkerOptions()
  ) {
    self.mode = mode
    self.coexistence = coexistence
    self.zeroCopy = zeroCopy
    self.captureFallback = captureFallback
    self.keepOnExit = keepOnExit
    self.worker = worker
  }

  /// State files of format 1 have no worker options.
  public init(from decoder: any Decoder) throws {
    let members = try decoder.container(keyedBy: CodingKeys.self)
    mode = try members.decode(AttachOptions.Mode.self, forKey: .mode)
    coexistence = try members.decode(AttachOptions.Coexistence.self, forKey: .coexistence)
    zeroCopy = try members.decode(ZeroCopy.self, forKey: .zeroCopy)
    captureFallback = try members.decode(Fate.self, forKey: .captureFallback)
    keepOnExit = try members.decode(Bool.self, forKey: .keepOnExit)
    worker = try members.decodeIfPresent(WorkerOptions.self, forKey: .worker) ?? WorkerOptions()
  }

  var program: AttachOptions { AttachOptions(mode: mode, coexistence: coexistence) }
}
