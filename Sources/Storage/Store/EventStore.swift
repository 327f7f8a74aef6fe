import Foundation

/// How far the events of a node's daemon are known.
public struct EventPosition: Hashable, Sendable {
  /// The daemon's start, in nanoseconds since 1970.
  public var epoch: UInt64
  public var sequence: UInt64

  public init(epoch: UInt64, sequence: UInt64) {
    self.epoch = epoch
    self.sequence = sequence
  }
}

/// An event as a daemon tells it.
public struct NewNodeEvent: Hashable, Sendable {
  public var position: EventPosition
  /// The daemon's word: `applied`, `rule_expired`, …
  public var kind: String
  /// Empty: none.
  public var interface: String
  public var message: String
  public var fields: [String: String]
  public var happenedAt: Date

  public init(
    position: EventPosition, kind: String, interface: String, message: String, fields: [String: String],
    happenedAt: Date
  ) {
    self.position = position
    self.kind = kind
    self.interface = interface
    self.message = message
    self.fields = fields
    self.happenedAt = happenedAt
  }
}

/// A stored event.
public struct NodeEvent: Hashable, Sendable {
  /// Grows from one event to the next, over all nodes; some numbers are left out.
  public var id: UInt64
  public var node: String
  public var event: NewNodeEvent
}

/// Which events; nil is any.
public struct EventFilter: Hashable, Sendable {
  /// Only events behind this one.
  public var after: UInt64?
  /// Empty: all.
  public var kinds: Set<String> = []
  public var node: String?
  public var interface: String?
  public var ruleSet: String?
  /// Only those of these; nil: all.
  public var among: Places?
  /// Oldest first; else newest first.
  public var isAscending = false

  /// Whole nodes, interfaces as `node/interface`, and rule sets, by their names.
  public struct Places: Hashable, Sendable {
    public var nodes: Set<String>
    public var interfaces: Set<String>
    public var ruleSets: Set<String>

    public init(nodes: Set<String>, interfaces: Set<String>, ruleSets: Set<String>) {
      self.nodes = nodes
      self.interfaces = interfaces
      self.ruleSets = ruleSets
    }
  }

  public init() {}
}

/// The part of a ``Store`` about what happened in the daemons.
public protocol EventStore: Sendable {
  /// Stores those that are not there yet, and how far they go; of several copies of the API that bring the same, one
  /// stores it. Beyond ``EventTable/eventsMax`` the oldest go. Returns how many were new.
  @discardableResult
  func recordEvents(_ events: [NewNodeEvent], ofNode id: UUID) async throws -> Int
  /// Nil: none was ever stored.
  func eventPosition(ofNode id: UUID) async throws -> EventPosition?
  func events(_ filter: EventFilter, _ page: Page) async throws -> Paged<NodeEvent>
  /// Numbers of the oldest and the newest event that are there; nil: none is. All nodes'.
  func eventRange() async throws -> ClosedRange<UInt64>?
}
