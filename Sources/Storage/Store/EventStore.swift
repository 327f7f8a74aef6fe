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
  /// Nil: no daemon tells it, it is about credentials.
  public var node: String?
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
  /// Of the daemons' events only those of these; nil: all.
  public var among: Places?
  /// Beside the daemons'.
  public var credentials = Credentials()
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

  /// Events about credentials that somebody may read.
  public struct Credentials: Hashable, Sendable {
    /// Of every account.
    public var accounts = false
    /// Of every API client.
    public var clients = false
    /// Of this account.
    public var ownAccount: UUID?

    public init(accounts: Bool = false, clients: Bool = false, ownAccount: UUID? = nil) {
      self.accounts = accounts
      self.clients = clients
      self.ownAccount = ownAccount
    }
  }

  public init() {}
}

/// The part of a ``Store`` about what happened: in the daemons, and to credentials.
public protocol EventStore: Sendable {
  /// Stores those that are not there yet, and how far they go; of several copies of the API that bring the same, one
  /// stores it. Beyond ``EventTable/eventsMax`` the oldest go. Returns how many were new.
  @discardableResult
  func recordEvents(_ events: [NewNodeEvent], ofNode id: UUID) async throws -> Int
  /// Nil: none was ever stored.
  func eventPosition(ofNode id: UUID) async throws -> EventPosition?
  /// Stores an event for each key of an active API client that ends within fourteen days, and once more within one, if it
  /// was made for longer than that; of several copies of the API, one does. Returns how many.
  @discardableResult
  func tellOfEndingKeys() async throws -> Int
  func events(_ filter: EventFilter, _ page: Page) async throws -> Paged<NodeEvent>
  /// Numbers of the oldest and the newest event that are there; nil: none is. All nodes'.
  func eventRange() async throws -> ClosedRange<UInt64>?
}
