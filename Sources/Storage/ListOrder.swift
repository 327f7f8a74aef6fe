import JSONValues

/// One field that a list is sorted by, as callers write it: `name`, or `-name` for the greatest first.
public struct SortKey: Hashable, Sendable {
  public let field: String
  public let isDescending: Bool

  public init(_ text: some StringProtocol) {
    isDescending = text.hasPrefix("-")
    field = String(isDescending ? text.dropFirst() : text[...])
  }
}

/// What a list can be sorted by, declared once: ORDER BY, the comparison that finds the next page, the API's parameter
/// `sort` and its documentation are made of it.
///
/// Every order ends with a field that no two rows share, so that a row's values in it say where the row is: the next page
/// begins behind them, whether the row is still there or not.
public struct ListOrder: Sendable {
  public struct Field: Hashable, Sendable {
    enum Kind { case integer, text }

    /// In the API.
    public let name: String
    /// SQL that is never NULL: what may be missing stands for less than everything else.
    let column: String
    let kind: Kind

    public static func text(_ name: String, _ column: String? = nil) -> Field {
      Field(name: name, column: column ?? name, kind: .text)
    }

    /// Also a time, or a flag.
    public static func integer(_ name: String, _ column: String? = nil) -> Field {
      Field(name: name, column: column ?? name, kind: .integer)
    }
  }

  typealias Term = (field: Field, isDescending: Bool)

  /// What callers may sort by.
  public let fields: [Field]
  /// The order without being asked.
  public let standard: [SortKey]
  /// No two rows have the same value.
  private let key: Field

  /// - Parameter standard: as ``SortKey`` reads them, of the fields or the key.
  public init(_ standard: String..., key: Field, fields: [Field]) {
    self.standard = standard.map { SortKey($0) }
    self.key = key
    self.fields = fields
  }

  /// The same list, sorted otherwise without being asked.
  public func by(_ standard: String) -> ListOrder { ListOrder(standard, key: key, fields: fields) }

  /// What the rows are sorted by, the key last. A field that stands there twice counts where it stands first.
  func terms(_ sort: [SortKey]) throws(StorageError) -> [Term] {
    var terms: [Term] = []
    for sortKey in sort.isEmpty ? standard : sort {
      guard let field = (fields + [key]).first(where: { $0.name == sortKey.field }) else {
        throw .invalid(field: "sort", reason: "sort by \(fields.map(\.name).joined(separator: ", "))")
      }
      if !terms.contains(where: { $0.field == field }) { terms.append((field, sortKey.isDescending)) }
      if field == key { return terms }
    }
    return terms + [(key, terms.last?.isDescending ?? false)]
  }

  /// What a position is that the list can't have given.
  public static let badPosition = StorageError.invalid(field: "cursor", reason: "is not of this list")
}

// MARK: In a database

extension Conditions {
  /// Rows behind those values. The first term by itself, too: databases look that up in an index.
  mutating func add(behind position: [JSONValue], _ terms: [ListOrder.Term]) throws(StorageError) {
    guard position.count == terms.count else { throw ListOrder.badPosition }
    var values: [SQLValue] = []
    for (value, term) in zip(position, terms) {
      switch (value, term.field.kind) {
      case (.integer(let integer), .integer): values.append(.integer(integer))
      case (.string(let text), .text) where !text.utf8.contains(0): values.append(.text(text))
      default: throw ListOrder.badPosition
      }
    }
    let first = arguments.count + 1
    var clause = ""
    for (index, term) in terms.enumerated().reversed() {
      let (column, parameter) = (term.field.column, "$\(first + index)")
      let isBehind = "\(column) \(term.isDescending ? "<" : ">") \(parameter)"
      clause = clause.isEmpty ? isBehind : "\(isBehind) OR (\(column) = \(parameter) AND (\(clause)))"
    }
    if terms.count > 1 {
      clause = "\(terms[0].field.column) \(terms[0].isDescending ? "<=" : ">=") $\(first) AND (\(clause))"
    }
    add(clause, values)
  }
}

extension SQLSession {
  /// One page of a SELECT, and the count of all rows that meet the conditions.
  func page<T: Sendable>(
    select: String, from table: String, _ conditions: Conditions = .init(), order: ListOrder, _ page: Page,
    _ read: (inout RowReader) throws(StorageError) -> T
  ) throws(StorageError) -> Paged<T> {
    let terms = try order.terms(page.sort)
    let total = try count("SELECT COUNT(*) FROM \(table)\(conditions.sql)", conditions.arguments)
    var conditions = conditions
    if let position = page.after { try conditions.add(behind: position, terms) }
    let columns = terms.map(\.field.column).joined(separator: ", ")
    let directions = terms.map { "\($0.field.column)\($0.isDescending ? " DESC" : "")" }.joined(separator: ", ")
    let n = conditions.arguments.count
    // One more than asked for tells whether there is a next page.
    var rows = try all(
      """
      SELECT \(columns), \(select) FROM \(table)\(conditions.sql) ORDER BY \(directions)
        LIMIT $\(n + 1) OFFSET $\(n + 2)
      """, conditions.arguments + [SQLValue(page.limit + 1), SQLValue(page.offset)]
    ) { row throws(StorageError) in
      var position: [JSONValue] = []
      for term in terms {
        position.append(term.field.kind == .integer ? .integer(try row.integer()) : .string(try row.text()))
      }
      return (position: position, item: try read(&row))
    }
    let hasMore = rows.count > page.limit
    if hasMore { rows.removeLast() }
    return Paged(items: rows.map(\.item), total: total, next: hasMore ? rows.last?.position : nil)
  }
}

// MARK: In memory

extension ListOrder {
  /// One page of a list that is at hand as a whole.
  ///
  /// - Parameters:
  ///   - isSorted: It comes in its standard order; nothing is sorted then unless somebody asks for another one.
  ///   - value: What an element has in a field: null, a boolean, an integer or a string.
  public func page<Elements: RandomAccessCollection>(
    of elements: Elements, isSorted: Bool = false, _ page: Page, _ value: (Elements.Element, String) -> JSONValue
  ) throws -> Paged<Elements.Element> where Elements.Element: Sendable {
    let terms = try terms(page.sort)
    func position(_ element: Elements.Element) -> [JSONValue] { terms.map { value(element, $0.field.name) } }
    func stands(_ left: [JSONValue], before right: [JSONValue]) -> Bool {
      for (index, term) in terms.enumerated() where left[index] != right[index] {
        return left[index].isLess(than: right[index]) != term.isDescending
      }
      return false
    }
    if let after = page.after, after.count != terms.count || !after.allSatisfy(\.isSortable) { throw Self.badPosition }
    let sorted: [Elements.Element]
    if isSorted && page.sort.isEmpty {
      // The first one behind the position, by halves.
      var (low, high) = (0, elements.count)
      func element(_ index: Int) -> Elements.Element { elements[elements.index(elements.startIndex, offsetBy: index)] }
      if let after = page.after {
        while low < high {
          let middle = (low + high) / 2
          if stands(after, before: position(element(middle))) { high = middle } else { low = middle + 1 }
        }
      }
      sorted = Array(elements.dropFirst(low).dropFirst(page.offset).prefix(page.limit + 1))
    } else {
      let placed = elements.map { (position: position($0), element: $0) }
        .filter { element in page.after.map { stands($0, before: element.position) } ?? true }
        .sorted { stands($0.position, before: $1.position) }
      sorted = placed.dropFirst(page.offset).prefix(page.limit + 1).map(\.element)
    }
    let items = Array(sorted.prefix(page.limit))
    return Paged(items: items, total: elements.count, next: sorted.count > items.count ? items.last.map(position) : nil)
  }
}

extension JSONValue {
  /// Null, boolean, integer, string: all others are where they are equal.
  private var rank: Int {
    switch self {
    case .null: 0
    case .bool: 1
    case .integer: 2
    case .string: 3
    case .number, .array, .object: 4
    }
  }

  fileprivate var isSortable: Bool { rank < 4 }

  /// Texts byte by byte, as databases compare them.
  fileprivate func isLess(than other: JSONValue) -> Bool {
    switch (self, other) {
    case (.bool(let left), .bool(let right)): !left && right
    case (.integer(let left), .integer(let right)): left < right
    case (.string(let left), .string(let right)): left.utf8.lexicographicallyPrecedes(right.utf8)
    default: rank < other.rank
    }
  }
}
