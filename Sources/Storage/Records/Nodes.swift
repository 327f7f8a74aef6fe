import Foundation
import Rules

/// A machine that runs sluiced.
public struct Node: Hashable, Sendable, Identifiable {
  public let id: UUID
  /// Unique; what the API's paths say.
  public var name: String
  /// `unix:/run/sluice/sluiced.sock`.
  public var address: String
  public var description: String
  public var createdAt: Date
  public var updatedAt: Date
}

public struct NewNode: Sendable {
  public var name: String
  public var address: String
  public var description: String

  public init(name: String, address: String, description: String = "") {
    self.name = name
    self.address = address
    self.description = description
  }

  /// The node of the first start: the daemon on this machine.
  public static let local = NewNode(
    name: "local", address: "unix:/run/sluice/sluiced.sock", description: "The daemon on this machine")
}

/// What changes of a node; nil stays as it is.
public struct NodeChange: Sendable {
  public var name: String?
  public var address: String?
  public var description: String?

  public init(name: String? = nil, address: String? = nil, description: String? = nil) {
    self.name = name
    self.address = address
    self.description = description
  }
}

/// How the XDP program is to be attached.
public enum AttachmentMode: String, Hashable, Sendable, Codable, CaseIterable {
  case auto, native, generic
}

/// Whether AF_XDP sockets are to be zero-copy.
public enum ZeroCopyMode: String, Hashable, Sendable, Codable, CaseIterable {
  case auto, required, off
}

/// What to do where another XDP program is attached.
public enum CoexistenceMode: String, Hashable, Sendable, Codable, CaseIterable {
  case auto, exclusive, dispatcher
}

/// The options of an attachment; the raw values are those of the API.
public struct AttachmentOptions: Hashable, Sendable {
  public var mode: AttachmentMode
  public var zeroCopy: ZeroCopyMode
  public var coexistence: CoexistenceMode
  public var captureFallback: Fate
  public var keepOnExit: Bool

  public init(
    mode: AttachmentMode = .auto, zeroCopy: ZeroCopyMode = .auto, coexistence: CoexistenceMode = .auto,
    captureFallback: Fate = .pass, keepOnExit: Bool = false
  ) {
    self.mode = mode
    self.zeroCopy = zeroCopy
    self.coexistence = coexistence
    self.captureFallback = captureFallback
    self.keepOnExit = keepOnExit
  }
}

/// The desired state of one interface of one node.
public struct Attachment: Hashable, Sendable, Identifiable {
  public let id: UUID
  /// Name of the node.
  public var node: String
  public var interface: String
  /// Name of the rule set, nil for none.
  public var ruleSet: String?
  /// The revision that was applied last, nil before the first.
  public var appliedRevision: UInt64?
  public var appliedAt: Date?
  public var options: AttachmentOptions
  public var createdAt: Date
  public var updatedAt: Date
}

public struct NewAttachment: Sendable {
  /// Name of the node.
  public var node: String
  public var interface: String
  /// Name of the rule set.
  public var ruleSet: String?
  public var options: AttachmentOptions

  public init(
    node: String = NewNode.local.name, interface: String, ruleSet: String? = nil, options: AttachmentOptions = .init()
  ) {
    self.node = node
    self.interface = interface
    self.ruleSet = ruleSet
    self.options = options
  }
}

/// What changes of an attachment; nil stays as it is. Another rule set forgets the applied revision.
public struct AttachmentChange: Sendable {
  /// `.some(nil)` takes the rule set away.
  public var ruleSet: String??
  public var options: AttachmentOptions?

  public init(ruleSet: String?? = nil, options: AttachmentOptions? = nil) {
    self.ruleSet = ruleSet
    self.options = options
  }
}

/// Which attachments; nil is any.
public struct AttachmentFilter: Hashable, Sendable {
  public var node: String?
  public var interface: String?
  public var ruleSet: String?
  /// Only these attachments, and those of these nodes; nil: all.
  public var among: Places?

  /// Attachments by themselves, and whole nodes.
  public struct Places: Hashable, Sendable {
    public var attachments: Set<UUID>
    public var nodes: Set<UUID>

    public init(attachments: Set<UUID>, nodes: Set<UUID>) {
      self.attachments = attachments
      self.nodes = nodes
    }
  }

  public init(node: String? = nil, interface: String? = nil, ruleSet: String? = nil) {
    self.node = node
    self.interface = interface
    self.ruleSet = ruleSet
  }
}
