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

  public init(
    mode: AttachOptions.Mode = .auto, coexistence: AttachOptions.Coexistence = .auto, zeroCopy: ZeroCopy = .auto,
    captureFallback: Fate = .pass, keepOnExit: Bool = false
  ) {
    self.mode = mode
    self.coexistence = coexistence
    self.zeroCopy = zeroCopy
    self.captureFallback = captureFallback
    self.keepOnExit = keepOnExit
  }

  var program: AttachOptions { AttachOptions(mode: mode, coexistence: coexistence) }
}
