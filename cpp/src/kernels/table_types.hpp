// The types that kernels are made for, each list in one place, and how a list becomes one kernel for each of its types.
//
// A type is added by naming it in its list: tables, the choice between kernels, what matrices keep and the sweeps of tests and
// benchmarks follow. What it needs besides is its arithmetic: widen() and the loads of simd/, rounded() of
// base/float_types.hpp.
#pragma once

#include <cstdint>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

template <class... T>
struct TypeList {};

// Every pair of a type of the first list and one of the second, each as a TypeList of two.
template <class Outer, class Inner, class... Pairs>
struct PairsOf;
template <class Inner, class... Pairs>
struct PairsOf<TypeList<>, Inner, Pairs...> {
  using Type = TypeList<Pairs...>;
};
template <class First, class... More, class... Inner, class... Pairs>
struct PairsOf<TypeList<First, More...>, TypeList<Inner...>, Pairs...>
    : PairsOf<TypeList<More...>, TypeList<Inner...>, Pairs..., TypeList<First, Inner>...> {};

using CsrColumns = TypeList<std::uint16_t, std::uint32_t>;
using CsrValues = TypeList<float, BFloat16, Float16>;
using CsrTypes = PairsOf<CsrColumns, CsrValues>::Type;
using BitmaskValues = TypeList<float, BFloat16, Float16, std::int8_t>;
using ScoreTypes = TypeList<float, double>;
using MaskedTypes = TypeList<std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t>;  // only their size matters

// One kernel for one type; the arguments' type selects it.
template <class Function>
struct TypedKernel;
template <class Result, class... Arguments>
struct TypedKernel<Result(Arguments...)> {
  using Pointer = Result (*)(Arguments...);
  Pointer pointer;
  Result operator()(Arguments... arguments) const { return pointer(arguments...); }
};

// The function for one type of a list, or for one pair of types.
template <template <class...> class Function, class T>
struct FunctionFor {
  using Type = Function<T>;
};
template <template <class...> class Function, class... T>
struct FunctionFor<Function, TypeList<T...>> {
  using Type = Function<T...>;
};

// The kernels of all types of a list: called like one function that is overloaded.
template <template <class...> class Function, class Types>
struct TypedKernels;
template <template <class...> class Function, class... T>
struct TypedKernels<Function, TypeList<T...>> : TypedKernel<typename FunctionFor<Function, T>::Type>... {
  using TypedKernel<typename FunctionFor<Function, T>::Type>::operator()...;

  // `any` converts to a pointer to each of them.
  template <class Any>
  constexpr explicit TypedKernels(Any any) : TypedKernel<typename FunctionFor<Function, T>::Type>{any}... {}

  // Calls body(pointer) for each.
  template <class Body>
  void for_each(const Body& body) const {
    (body(TypedKernel<typename FunctionFor<Function, T>::Type>::pointer), ...);
  }
};

// Calls body.operator()<T>() for every type of a list, body.operator()<T, U>() where these are pairs.
template <class Body, class... T>
void for_each_type(TypeList<T...>, const Body& body) {
  (body.template operator()<T>(), ...);
}
template <class Body, class... T, class... U>
void for_each_type(TypeList<TypeList<T, U>...>, const Body& body) {
  (body.template operator()<T, U>(), ...);
}

}  // namespace sparse_engine
