import JSONValues

/// Which part of a list.
public struct Page: Hashable, Sendable {
  public static let limitMax = 1000

  /// 1 to ``limitMax``.
  public let limit: Int
  /// From 0; counted from ``after`` on where that is there.
  public let offset: Int
  /// Empty: as the list is sorted without being asked, see ``ListOrder/standard``.
  public let sort: [SortKey]
  /// Behind the row of this position: a ``Paged/next`` of the same list, filter and sort.
  public var after: [JSONValue]?

  /// Out-of-range values are moved to the nearest bound.
  public init(limit: Int = 100, offset: Int = 0, sort: [SortKey] = [], after: [JSONValue]? = nil) {
    self.limit = min(max(limit, 1), Self.limitMax)
    self.offset = max(offset, 0)
    self.sort = sort
    self.after = after
  }
}

/// One page, and how many there are in all (with the same filter).
public struct Paged<Item: Sendable>: Sendable {
  public var items: [Item]
  public var total: Int
  /// Where the page behind this one begins: for ``Page/after``. Nil: this is the last one.
  public var next: [JSONValue]?

  public init(items: [Item], total: Int, next: [JSONValue]? = nil) {
    self.items = items
    self.total = total
    self.next = next
  }
}

extension Paged {
  /// The same page of what each element becomes.
  public func map<Other>(_ transform: (Item) throws -> Other) rethrows -> Paged<Other> {
    Paged<Other>(items: try items.map(transform), total: total, next: next)
  }
}

extension Paged: Equatable where Item: Equatable {}

/// All elements of a list that is told in pages. What is there the whole time is there once, whatever comes and goes.
public func everything<Item>(_ list: (Page) async throws -> Paged<Item>) async throws -> [Item] {
  var items: [Item] = []
  var position: [JSONValue]?
  repeat {
    let page = try await list(Page(limit: Page.limitMax, after: position))
    items += page.items
    position = page.next
  } while position != nil
  return items
}
