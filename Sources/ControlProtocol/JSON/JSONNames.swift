public import JSONValues

/// What the protocol's messages are as JSON.
public typealias JSONValue = JSONValues.JSONValue
public typealias JSONSyntaxError = JSONValues.JSONSyntaxError
