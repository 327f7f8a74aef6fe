/// Which part of a list.
public struct Page: Hashable, Sendable {
  public static let limitMax = 1000

  /// 1 to ``limitMax``.
  public let limit: Int
  /// From 0.
  public let offset: Int

  /// Out-of-range values are moved to the nearest bound.
  public init(limit: Int = 100, offset: Int = 0) {
    self.limit = min(max(limit, 1), Self.limitMax)
    self.offset = max(offset, 0)
  }
}

/// One page, and how many there are in all (with the same filter).
public struct Paged<Item: Sendable>: Sendable {
  public var items: [Item]
  public var total: Int

  public init(items: [Item], total: Int) {
    self.items = items
    self.total = total
  }
}

extension Paged {
  func map<Other>(_ transform: (Item) -> Other) -> Paged<Other> {
    Paged<Other>(items: items.map(transform), total: total)
  }
}

extension Paged: Equatable where Item: Equatable {}
