/// A value that its copies share until one of them is given another: to copy it costs one reference, and to compare it
/// with a copy of itself nothing.
///
/// For large values in lists that are copied and compared whole.
@propertyWrapper
public struct Shared<Value: Hashable & Sendable>: Hashable, Sendable {
  @usableFromInline
  final class Box: Sendable {
    @usableFromInline let value: Value

    @inlinable init(_ value: Value) { self.value = value }
  }

  @usableFromInline var box: Box

  @inlinable
  public init(wrappedValue: Value) { box = Box(wrappedValue) }

  @inlinable public var wrappedValue: Value {
    get { box.value }
    set { box = Box(newValue) }
  }

  @inlinable
  public static func == (one: Shared, other: Shared) -> Bool { one.box === other.box || one.box.value == other.box.value }

  @inlinable
  public func hash(into hasher: inout Hasher) { box.value.hash(into: &hasher) }
}
